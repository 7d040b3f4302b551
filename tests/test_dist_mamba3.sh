#!/bin/sh
# test_dist_mamba3.sh - Mamba-3 with sequences over processes: its four parts of the state go over
# the seams, and their gradients back.
set -u
. tests/support/ranks.sh

# Two ranks compose no maps: three are always there, and make all that two make.
[ "$all_ranks" = 2 ] && all_ranks=3
for n in $all_ranks; do holds "$n" "$B/tests/dist_mamba3" "$n"; done
report
