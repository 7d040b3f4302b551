#!/bin/sh
# test_dist_layers.sh - sequences over processes: what layers make of stretches is what they make of
# the whole.
set -u
. tests/support/ranks.sh

# Two ranks compose no maps: three are always there, and make all that two make.
[ "$all_ranks" = 2 ] && all_ranks=3
for n in $all_ranks; do holds "$n" "$B/tests/dist_layers" "$n"; done
report
