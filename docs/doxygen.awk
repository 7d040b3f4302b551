# doxygen.awk - the headers' plain comments as doxygen reads them: /* before a declaration becomes /**,
# and /* behind one becomes /**<. Banners stay plain. In running text < > # @ and \ are escaped; lines
# indented by four or more are formulas and code, which markdown leaves alone.
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
