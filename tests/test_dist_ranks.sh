#!/bin/sh
# test_dist_ranks.sh - ranks: what they tell each other, and how they end together.
set -u
. tests/support/ranks.sh
program=$B/tests/dist_ranks

# Without mpirun, too.
OMP_NUM_THREADS=1 "$program" || fail "one process alone"
for n in $all_ranks; do
    holds "$n" "$program"
    holds "$n" "$program" "$n"
done
if [ "${PAL_TEST_ALL:-0}" = 1 ]; then holds 4 "$program" 2; fi

# A sentence, once, from who has the trouble; and all end.
begin=$(date +%s)
if ranks 2 "$program" 1 alone; then fail "a rank alone: status 0"; fi
[ "$(grep -c "palimpsest: rank 1: the data of rank 1 are gone" "$dir/out")" = 1 ] || fail "not once: $(cat "$dir/out")"
if ranks 2 "$program" 1 alike; then fail "all ranks: status 0"; fi
[ "$(grep -c "all have the same trouble" "$dir/out")" = 1 ] || fail "not once: $(cat "$dir/out")"
if ranks 2 "$program" 3; then fail "2 ranks in threes: status 0"; fi
grep -q "sequence_parallel is 3, which does not divide the number of ranks, 2" "$dir/out" || fail "$(cat "$dir/out")"
[ $(($(date +%s) - begin)) -lt 40 ] || fail "ranks did not end when one did"
report
