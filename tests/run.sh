#!/bin/sh
# run.sh - runs every test program given and sums up: "N passed, N failed".
#
# A Check suite counts its checks, any other program counts as one. A program that ends badly without
# having counted a failure (a crash, a sanitizer's report) counts as one failure. What a program
# printed is shown when it failed, and lines that begin with "note: " always; it stays in $B/logs.
B=${B:-build}
LC_ALL=C # sort and awk of the tests read and write numbers
export LC_ALL
mkdir -p "$B/logs"
passed=0
failed=0
# Leak checks report the library's own leaks; what MPI and HDF5 keep until exit is theirs.
LSAN_OPTIONS="suppressions=tests/lsan.supp:print_suppressions=0"
export B LSAN_OPTIONS

run() { # name command...
    name=$1
    log=$B/logs/$name.log
    shift
    begin=$(date +%s)
    timeout 600 "$@" >"$log" 2>&1
    status=$?
    counts=$(sed -n 's/^[0-9]*%: Checks: \([0-9]*\), Failures: \([0-9]*\), Errors: \([0-9]*\).*/\1 \2 \3/p' "$log" |
        awk '{c += $1; f += $2 + $3} END {print c + 0, f + 0}')
    checks=${counts% *}
    bad=${counts#* }
    if [ "$checks" = 0 ]; then checks=1; fi
    if [ $status != 0 ] && [ "$bad" = 0 ]; then bad=1; fi
    passed=$((passed + checks - bad))
    failed=$((failed + bad))
    if [ $status != 0 ]; then
        echo "FAIL  $name (status $status)"
        tail -n 60 "$log" | sed 's/^/      /'
    else
        printf 'ok    %-24s %4d checks %4d s\n' "$name" "$checks" $(($(date +%s) - begin))
        sed -n 's/^note: /      /p' "$log"
    fi
}

for program in "$@"; do
    name=$(basename "$program" .sh)
    case $program in
    *.sh) run "$name" sh "$program" ;;
    */replay)
        run replay "$program" tests/data/*.h5
        for mode in composed recurrent chunk; do
            run "replay_$mode" "$program" --mode $mode tests/data/*.h5
        done
        ;;
    *) run "$name" "$program" ;;
    esac
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
