#!/bin/sh
# run.sh - compiles and runs the program of a page, from the root of the tree after `make lib`:
#
#     sh docs/course/run.sh docs/course/01_memory.md
#
# The program stays in build/pages, as text and compiled. A line that it prints with an @ before it is a point of a figure: it
# goes to the .dat file beside the program. CC, B (the build folder) and SAN (a sanitizer) may be set.
set -eu
B=${B:-build}
CC=${CC:-gcc}
if [ $# != 1 ] || [ ! -f "$1" ]; then
    echo "run.sh: which page? sh docs/course/run.sh docs/course/NN_NAME.md (or docs/course/answers/NN.md)" >&2
    exit 2
fi
case $B in
/*) library=$B ;;
*) library=$PWD/$B ;;
esac
if [ ! -e "$library/libpalimpsest.so" ]; then
    echo "run.sh: there is no $B/libpalimpsest.so: run make first" >&2
    exit 2
fi
name=$(echo "$1" | sed -e 's|.*answers/|answers_|' -e 's|.*/||' -e 's|\.md$||')
program=${COURSE_OUT:-$B/pages}/$name
mkdir -p "${program%/*}"
awk -v part=c -f docs/course/extract.awk "$1" >"$program.c"
if [ ! -s "$program.c" ]; then
    echo "run.sh: $1 has no program" >&2
    exit 2
fi
# shellcheck disable=SC2086 # empty, or one flag
$CC -std=c11 -O1 -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wconversion -ffp-contract=off \
    ${SAN:+-fsanitize=$SAN} -I. "$program.c" -o "$program" -L"$library" -Wl,-rpath,"$library" -Wl,--allow-shlib-undefined -lpalimpsest -lm
# The form feeds are marks for tests/test_course.sh.
"$program" >"$program.out" || { code=$?; cat "$program.out"; exit $code; }
grep '^@' "$program.out" >"$program.dat" || rm "$program.dat"
sed -e '/^@/d' -e '/^\f$/d' "$program.out"
