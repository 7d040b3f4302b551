#!/bin/sh
# test_widget.sh - the memory that pages show (examples/inspect/memory.js) has the library's states, and shows what it has.
# Three scripts here; with PAL_TEST_ALL=1 fifty, in both engines, faults that have to be found, and the pages in a browser.
set -u
B=${B:-build}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
export OMP_NUM_THREADS=1
failed=0
all=${PAL_TEST_ALL:-0}

fail() {
    echo "FAIL: $*"
    failed=1
}
compare() { # SCRIPTS
    python3 -B tests/memory.py "$B/examples/inspect" "$dir" "$1" >"$dir/out" 2>&1
}
browser=$(command -v chromium)
if ! command -v node >/dev/null 2>&1 && [ -z "$browser" ]; then
    [ "$all" = 1 ] && fail "neither node nor chromium"
    echo "note: neither node nor chromium: the memory of the pages was not compared"
    exit $failed
fi
if [ "$all" != 1 ]; then
    compare 3 || fail "$(cat "$dir/out")"
    [ $failed = 0 ] && cat "$dir/out"
    exit $failed
fi

compare 50 || fail "$(cat "$dir/out")"
cat "$dir/out"
[ -z "$browser" ] && fail "no chromium"
PAL_TEST_BROWSER=1 compare 5 || fail "in the browser: $(cat "$dir/out")"
mutant() { # SED-SCRIPT: a fault in memory.js that has to be found
    sed "$1" examples/inspect/memory.js >"$dir/memory.js"
    cmp -s examples/inspect/memory.js "$dir/memory.js" && fail "no place for $1"
    if PAL_MEMORY=$dir/memory.js compare 8; then fail "not found: $1"; fi
}
mutant 's/erased\[c \* V + j\] -= h.k\[t \* K + c\]/erased[c * V + j] -= h.erase(t, c) * h.k[t * K + c]/'
mutant "s/case 'kda': return { ...still, decay: byChannel/case 'kda': return { ...still, decay: all(a)/"
mutant 's/late: (1 - lam) \* dt/late: (1 - lam)/'
mutant 's/phi.map((a, j) => a + channel/phi.map((a, j) => channel/'
mutant 's/mean(l.erase) : mean(l.write), dt/mean(l.write) : mean(l.write), dt/'

python3 -B docs/site/build.py "$dir/site" "" docs/course/03_delta_rule.md >"$dir/out" 2>&1 || fail "$(cat "$dir/out")"
"$B/examples/inspect" --demo --no-figures --out "$dir/demo" >"$dir/out" 2>&1 || fail "$(cat "$dir/out")"
python3 -B tests/widget.py "$dir/site/docs/course/03_delta_rule.html" "$dir/demo/index.html" || fail "the widget"
exit $failed
