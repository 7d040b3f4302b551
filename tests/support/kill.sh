# kill.sh - what the tests of killed programs share; they read it by `.`.
#
# try WORD COMMAND...   runs it with the fault WORD; its output is in $dir/said
# number KIND           how many calls of a kind a whole run makes, as `count COMMAND...` found
# some KIND STEP        the numbers of the calls to be tried: 1, 1+STEP, ...; all in check-all
B=${B:-build}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
failed=0
kills=0
export OMP_NUM_THREADS=1
# The library stands before the sanitizer's own functions.
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0"

fail() {
    echo "FAIL: $*"
    failed=1
}
try() { # fault command...
    fault=$1
    shift
    env LD_PRELOAD="$B/tests/fault.so" FAULT_BELOW="$dir/cut" FAULT="$fault" "$@" >"$dir/said" 2>&1
}
count() { # command...
    rm -f "$dir/counts"
    try none FAULT_COUNTS="$dir/counts" "$@"
}
number() { awk -v kind="$1" '$1 == kind { n += $2 } END { print n + 0 }' "$dir/counts"; }
some() { # kind step
    seq 1 "$([ "${PAL_TEST_ALL:-0}" = 1 ] && [ "$1" != write ] && echo 1 || echo "$2")" "$(number "$1")"
}
text() { # lines
    awk -v n="$1" 'BEGIN { for (i = 0; i < n; i++) print i " bottles, " i * i % 97 " labels, " i % 7 " corks" }'
}
# Every byte of two folders, but for the seconds of log.jsonl.
equal() { # what
    for f in whole cut; do
        rm -rf "${dir:?}/$f.same"
        cp -r "$dir/$f" "$dir/$f.same"
        sed -i 's/"seconds":[^,]*,"tokens_per_second":[^,}]*/times/' "$dir/$f.same/log.jsonl"
    done
    diff -r "$dir/whole.same" "$dir/cut.same" >"$dir/diff" || fail "$1: $(head -n 5 "$dir/diff")"
}
