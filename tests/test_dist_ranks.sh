#!/bin/sh
# test_dist_ranks.sh - ranks: what they tell each other, and how they end together.
set -u
. tests/support/ranks.sh
program=$B/tests/dist_ranks

# Without mpirun, too; and without MPI leaks are ours.
OMP_NUM_THREADS=1 ASAN_OPTIONS='' "$program" || fail "one process alone"
for n in $all_ranks; do
    holds "$n" "$program"
    holds "$n" "$program" "$n"
done
if [ "${PAL_TEST_ALL:-0}" = 1 ]; then holds 4 "$program" 2; fi
# Ranks that look again and again before they sleep, as they do where nothing is set.
export OMP_WAIT_POLICY=active
holds 2 "$program"
if [ "${PAL_TEST_ALL:-0}" = 1 ]; then
    mkdir "$dir/active"
    holds 2 "$B/tests/dist_loop" "$dir/active"
    holds 2 "$B/tests/dist_zero" "$dir" steps
    holds 2 "$B/tests/dist_zero" "$dir" full
fi
export OMP_WAIT_POLICY=passive

# A sentence, once, from who has the trouble; and all end.
begin=$(date +%s)
if ranks 2 "$program" 1 alone; then fail "a rank alone: status 0"; fi
[ "$(grep -c "palimpsest: rank 1: the data of rank 1 are gone" "$dir/out")" = 1 ] || fail "not once: $(cat "$dir/out")"
if ranks 2 "$program" 1 alike; then fail "all ranks: status 0"; fi
[ "$(grep -c "all have the same trouble" "$dir/out")" = 1 ] || fail "not once: $(cat "$dir/out")"
# A start that fails, by what all say alike, by what one says, by what they say differently.
once() { # SENTENCE command...
    sentence=$1
    shift
    if ranks 2 "$@"; then fail "$*: status 0"; fi
    [ "$(grep -c "$sentence" "$dir/out")" = 1 ] || fail "$*: not once: $(cat "$dir/out")"
}
once "sequence_parallel is 3, which does not divide the number of ranks, 2" "$program" 3
once "dist_start: bucket is -1 bytes" "$program" 1 wrong
once 'dist_start: the options: line 2 is "bucket: 1000" on rank 0 and "bucket: 1001" on rank 1' "$program" 1 unlike
[ $(($(date +%s) - begin)) -lt 300 ] || fail "ranks did not end when one did"
report
