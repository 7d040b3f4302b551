-- filter.lua - what pandoc makes of a page beside plain Markdown, for build.py.
--
-- ```math     an equation, as MathML
-- ```memory   a script of `inspect`, which site.js shows as a memory to play with
-- ```c, ```sh, ```text and indented blocks: a box that site.js gives a copy button
local function box(kind, caption, block)
    local parts = {}
    if caption ~= '' then parts[1] = pandoc.Div({pandoc.Plain(pandoc.Str(caption))}, pandoc.Attr('', {'caption'})) end
    parts[#parts + 1] = block
    return pandoc.Div(parts, pandoc.Attr('', {'code', kind}))
end

local captions = {c = 'C', sh = 'Shell', text = 'Output', diff = 'Changes'}

function CodeBlock(block)
    local kind = block.classes[1] or ''
    if kind == 'math' then
        return pandoc.Div({pandoc.Para({pandoc.Math('DisplayMath', block.text)})}, pandoc.Attr('', {'equation'}))
    end
    if kind == 'memory' then return pandoc.Div({block}, pandoc.Attr('', {'memory-widget'})) end
    if captions[kind] == nil and kind ~= '' then error('a block of type ' .. kind) end
    return box(kind == '' and 'plain' or kind, captions[kind] or '', block)
end

function Table(block) return pandoc.Div({block}, pandoc.Attr('', {'wide'})) end
