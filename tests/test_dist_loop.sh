#!/bin/sh
# test_dist_loop.sh - the loop of several ranks ends on all of them alike, and one keeps its folder.
set -u
. tests/support/ranks.sh

mkdir "$dir/alone"
"$B/tests/dist_loop" "$dir/alone" || fail "one process alone"
for n in $all_ranks; do
    mkdir "$dir/$n"
    holds "$n" "$B/tests/dist_loop" "$dir/$n"
    [ "$(wc -l <"$dir/$n/resume/log.csv")" = 13 ] || fail "the log of $n ranks is not that of 12 steps"
    [ "$(grep -c '^step ' "$dir/$n/resume/samples.txt")" = 2 ] || fail "not two samples of $n ranks"
    if [ "$n" -gt 1 ]; then
        grep -q '"reduce_exposed":[0-9.e-]*,"reduce_span":[0-9.e-]*,"reduce_bytes":[0-9]*' "$dir/$n/resume/log.jsonl" ||
            fail "log.jsonl has no times of communication"
    fi
    [ -z "$(find "$dir/$n" -name '*.tmp*')" ] || fail "files that were begun are left"
done
report
