#!/bin/sh
# test_dist_layers.sh - sequences over processes: what layers make of stretches is what they make of
# the whole.
set -u
. tests/support/ranks.sh

limit=400 # seconds: ranks beyond the processors take turns
# Two ranks compose no maps: a third is always there.
[ "$all_ranks" = 2 ] && all_ranks="2 3"
for n in $all_ranks; do holds "$n" "$B/tests/dist_layers" "$n"; done
report
