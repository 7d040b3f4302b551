# extract.awk - the program, the commands and the expected output of a page of the course.
#
#     awk -v part=c        -f docs/course/extract.awk PAGE      the C program: all ```c blocks, in order
#     awk -v part=c-says   -f docs/course/extract.awk PAGE      what it prints: the ```text blocks after ```c
#     awk -v part=sh       -f docs/course/extract.awk PAGE      the commands: all ```sh blocks
#     awk -v part=sh-says  -f docs/course/extract.awk PAGE      what they print
#     awk -v part=memory   -f docs/course/extract.awk PAGE      the scripts of its widgets: all ```memory blocks
#
# A ```math block is an equation. A ```memory block is a sequence made by hand for `inspect --script`, which the site shows as a
# memory to play with; a form feed ends each of them here.
# Blocks ```sh slow are left out unless -v slow=1 is given. A ```text block belongs to the ```c or ```sh block directly
# before it (blank lines may be between). There the program, or the shell, prints a line that is a form feed, and so does
# what is expected: so each text is compared with what was printed at its place. Any other ```text block, and a block of
# any other language, is an error: nothing in a page goes unread.
function fault(what)
{
    printf "%s:%d: %s\n", FILENAME, FNR, what > "/dev/stderr"
    bad = 1
    exit 1
}
/^```/ {
    if (block != "") { # the end of a block
        if (block == "text" && part == of "-says" || block == "memory" && part == block) print "\f"
        before = skipped ? "skipped" : block
        block = ""
        next
    }
    block = substr($0, 4)
    skipped = block == "sh slow" && !slow
    sub(/ slow$/, "", block)
    if (block !~ /^(c|sh|text|math|memory)$/) fault("a block of type '" block "'; allowed: c, sh, sh slow, text, math, memory")
    if (block == "c" && part == "c") printf "#line %d \"%s\"\n", FNR + 1, FILENAME
    if (block == "text") {
        if (before !~ /^(c|sh|skipped)$/) fault("this text follows no program and no command")
        of = before
        if (of == "c" && part == "c") print "    puts(\"\\f\");"
        if (of == "sh" && part == "sh") print "printf '\\f\\n'"
    }
    next
}
block == "" { if ($0 != "") before = ""; next }
block == "text" { if (part == of "-says") print; next }
!skipped && block == part
END { if (!bad && block != "") { print FILENAME ": the last block has no end" > "/dev/stderr"; exit 1 } }
