#!/bin/sh
# test_dist_mamba3.sh - Mamba-3 with sequences over processes: its four parts of the state go over
# the seams, and their gradients back.
set -u
. tests/support/ranks.sh

limit=400 # seconds: ranks beyond the processors take turns
# Two ranks compose no maps: a third is always there.
[ "$all_ranks" = 2 ] && all_ranks="2 3"
for n in $all_ranks; do holds "$n" "$B/tests/dist_mamba3" "$n"; done
report
