# doxygen.awk - the headers' plain comments as doxygen reads them: /* before a declaration becomes /**,
# and /* behind one becomes /**<. Banners stay plain. In running text < > # @ and \ are escaped; lines
# indented by four or more are formulas and code, which markdown leaves alone. Behind each function of PAL_API comes a
# place that uses it, from the file that the variable `uses` names (docs/uses.py).
BEGIN {
    FS = "\t"
    while (uses && (getline line < uses) > 0) {
        n = split(line, part, "\t")
        if (n == 3) { file[part[1]] = part[2]; code[part[1]] = part[3] }
    }
}
function used()
{
    if (name in file) {
        printf "/**< @par Used in %s\n * @code{.c}\n * %s\n * @endcode */\n", file[name], code[name]
    }
    name = ""
    ready = prototype = 0
}
function escape(text)
{
    gsub(/\\/, "\\\\", text)
    gsub(/</, "\\<", text)
    gsub(/>/, "\\>", text)
    gsub(/[@#]/, "\\\\&", text)
    return text
}
function body(text,    end)
{
    end = ""
    if (text ~ /\*\/[ \t]*$/) { end = " */"; sub(/[ \t]*\*\/[ \t]*$/, "", text); inside = 0 }
    return escape(text) end
}
FNR == 1 { inside = 0 }
ready && !inside { used() }
!inside && /^PAL_API/ { prototype = 1 }
prototype && !inside {
    plain = $0
    sub(/\/\*.*/, "", plain)
    if (name == "" && match(plain, /pal_[A-Za-z0-9_]+\(/)) name = substr(plain, RSTART, RLENGTH - 1)
    if (plain ~ /;/) ready = 1
}
/^\/\* ---- / { print; next }
FNR == 1 && /^\/\*/ { print "/** @file"; inside = 1; next }
inside {
    if ($0 ~ /^[ \t]*\*\/[ \t]*$/) { inside = 0; print; next }
    if (match($0, /^[ \t]*\*     /)) { print; if ($0 ~ /\*\/[ \t]*$/) inside = 0; next }
    if (match($0, /^[ \t]*\* ?/)) { print substr($0, 1, RLENGTH) body(substr($0, RLENGTH + 1)); next }
    print body($0)
    next
}
match($0, /\/\*/) {
    before = substr($0, 1, RSTART - 1)
    rest = substr($0, RSTART + 2)
    inside = 1
    print before (before ~ /[^ \t]/ ? "/**<" : "/**") body(rest)
    next
}
{ print }
END { if (ready) used() }
