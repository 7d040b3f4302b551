#!/bin/sh
# test_dist_dataset.sh - batches of a dataset that are divided by rows, and by the time of sequences.
set -u
. tests/support/ranks.sh
program=$B/tests/dist_dataset

"$program" "$dir" 1 || fail "one process alone"
holds 2 "$program" "$dir" 1
holds 2 "$program" "$dir" 2
if [ -n "${PAL_TEST_ALL:-}" ]; then
    holds 3 "$program" "$dir" 3
    holds 4 "$program" "$dir" 2
fi
report
