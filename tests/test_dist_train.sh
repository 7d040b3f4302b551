#!/bin/sh
# test_dist_train.sh - a model trained by several ranks is that of one process.
set -u
. tests/support/ranks.sh
program=$B/tests/dist_train

"$program" "$dir" gradients || fail "one process alone"
for n in $all_ranks; do
    holds "$n" "$program" "$dir" losses
    [ "${PAL_TEST_ALL:-0}" = 1 ] && holds "$n" "$program" "$dir" gradients
    holds "$n" "$program" "$dir" blocking
done
PAL_TRACE=dist holds 2 "$program" "$dir" gradients
grep -q "rank 1: bucket 0, parameters [0-9]* to [0-9]*, [0-9]* bytes: started [0-9.]* (operation [0-9]*), finished" "$dir/out" ||
    fail "PAL_TRACE=dist prints nothing"
report
