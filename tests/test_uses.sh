#!/bin/sh
# test_uses.sh - the reference names for each public function a program that uses it, and misses one that has none.
set -u
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
failed=0
PYTHON=${PYTHON:-python3}
# shellcheck disable=SC2016 # the texts are for sed
headers=$(sed -n '/^HEADERS := /,/[^\\]$/p' Makefile | tr -d '\\\n' | sed 's/HEADERS := //; s/\$(addprefix \([^,]*\),\([^)]*\))/\n\1,\2\n/g' |
    awk -F, 'NF == 1 { print } NF == 2 { n = split($2, name, " "); for (i = 1; i <= n; i++) print $1 name[i] }')
# shellcheck disable=SC2086 # a list
"$PYTHON" docs/uses.py $headers >"$dir/uses" || failed=1
[ "$(wc -l <"$dir/uses")" -gt 400 ] || { echo "FAIL: only $(wc -l <"$dir/uses") functions"; failed=1; }
printf 'PAL_API int pal_matmul(int a);\nPAL_API int pal_nobody_calls_this(int a);\n' >"$dir/more.h"
"$PYTHON" docs/uses.py "$dir/more.h" >"$dir/out" 2>"$dir/error" && { echo "FAIL: a function without use passes"; failed=1; }
grep -q 'no program uses pal_nobody_calls_this' "$dir/error" || { echo "FAIL: $(cat "$dir/error")"; failed=1; }
grep -q '^pal_matmul	' "$dir/out" || { echo "FAIL: pal_matmul is not found"; failed=1; }
# A page shows it.
printf '/* a.h - a page. */\n/* A product. */\nPAL_API int\npal_matmul(int a); /* of\n * a kind */\n/* Next. */\n' >"$dir/a.h"
awk -v uses="$dir/out" -f docs/doxygen.awk "$dir/a.h" >"$dir/page"
grep -q '@par Used in [a-z0-9_./]*$' "$dir/page" || { echo "FAIL: $(cat "$dir/page")"; failed=1; }
exit $failed
