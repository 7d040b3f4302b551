#!/usr/bin/env python3
"""uses.py HEADER... - for each public function a place that uses it, as lines `name TAB file TAB code` for docs/doxygen.awk.

Places are looked for in this order: numbered examples, pages of the documentation, other examples, benchmarks, tests, the
library itself, and lines of code in the comments of the headers. Status 1 if a function has none; its name is then on stderr.
"""
import glob
import re
import sys

MOST = 4  # lines of code that are shown

KINDS = [
    ['examples/[0-9][0-9]_*.[ch]'],
    ['README.md', 'docs/*.md', 'docs/course/*.md'],
    ['examples/*.c', 'examples/*/*.c'],
    ['bench/*.c', 'bench/*/*.c'],
    ['tests/*.c', 'tests/*/*.c', 'tests/*/*/*.c'],
    ['tensor/**/*.c', 'autograd/**/*.c', 'layers/**/*.c', 'optim/**/*.c'],
]


def functions(header):
    with open(header, encoding='utf-8') as f:
        text = re.sub(r'/\*.*?\*/', ' ', f.read(), flags=re.S)
    return re.findall(r'^PAL_API[^;{}=]*?\b(pal_\w+)\(', text, flags=re.M)


def code_of(path):
    """The lines of a file with comments blanked; of a page only those that are indented or in a block of C."""
    with open(path, encoding='utf-8') as f:
        text = f.read()
    if path.endswith('.md'):
        lines, block = [], False
        for line in text.split('\n'):
            if line.startswith('```'):
                block = not block and line.startswith('```c')
                line = ''
            lines.append(' ' + line if block else line if line.startswith('    ') else '')
        text = '\n'.join(lines)
    blank = lambda m: re.sub(r'[^\n]', ' ', m.group(0))
    return re.sub(r'/\*.*?\*/', blank, text, flags=re.S).split('\n')


def comments_of(path):
    """The lines of code in a header's comments, which are indented."""
    with open(path, encoding='utf-8') as f:
        return [m.group(1) if (m := re.match(r'\s*\*(     .*)', line)) else '' for line in f]


def statement(lines, i):
    """Line i and those after it, until its brackets are closed."""
    text, depth = '', 0
    for line in lines[i:i + MOST]:
        text += ' ' + line.strip()
        depth += line.count('(') - line.count(')')
        if depth <= 0:
            break
    return ' '.join(text.split())


def main(headers):
    wanted = [name for h in headers for name in functions(h)]
    known = set(wanted)
    found = {}
    for kind in KINDS + [headers]:
        for path in sorted(p for pattern in kind for p in glob.glob(pattern, recursive=True)):
            if path.endswith('.k.c') or len(found) == len(known):
                continue
            lines = comments_of(path) if kind is headers else code_of(path)
            for i, line in enumerate(lines):
                if not line[:1].isspace():
                    continue  # a definition
                for name in re.findall(r'\b(pal_\w+)\b', line):
                    if name in known and name not in found:
                        found[name] = (path, statement(lines, i))
    for name in dict.fromkeys(wanted):
        if name in found:
            print(name, *found[name], sep='\t')
        else:
            print(f'docs/uses.py: no program uses {name}; write an example line', file=sys.stderr)
    return 0 if len(found) == len(known) else 1


sys.exit(main(sys.argv[1:]))
