#!/bin/sh
# test_ablate_killed.sh - a study that is killed at random twenty times ends in the same bytes (PAL_TEST_ALL=1; else three times).
. tests/support/ablate.sh

times=3
[ "${PAL_TEST_ALL:-0}" = 1 ] && times=20
cat >"$dir/kill.study" <<'END'
title = A study to be killed
task = mqar:vocab=16:len=16:pairs=2,3
task = copy:symbols=4:len=16
width = 16
steps = 24
batch = 4
rows = 8
every = 8
seeds = 2, 5, 7
models = true
differ = output_gate
variant.erase = gdn2:num_heads=2:head_dim=8:erase=scalar
variant.kda = kda:num_heads=2:head_dim=8
END
works whole "$dir/kill.study" --jobs 2
i=0
while [ $i -lt $times ]; do
    "$B/examples/ablate" "$dir/kill.study" --out "$dir/killed" --jobs 2 >"$dir/killed.log" 2>&1 &
    pid=$!
    # Up to half a second later, in steps of 5 ms that awk draws.
    sleep "$(awk -v seed="$i$$" 'BEGIN { srand(seed); printf "%.3f", 0.005 * int(100 * rand()) }')"
    kill -KILL $pid 2>/dev/null
    wait $pid 2>/dev/null
    i=$((i + 1))
done
works killed "$dir/kill.study" --jobs 2
for f in results.csv curves.csv comparisons.csv table.md table.tex results.h5; do
    cmp -s "$dir/whole/$f" "$dir/killed/$f" || fail "killed $times times: $f is another one"
done
[ "$(ls "$dir/killed/runs/"*.txt | wc -l)" = 12 ] || fail "not 12 runs: $(ls "$dir/killed/runs")"

[ $failed = 0 ] && echo "a study that was killed ends in the same bytes"
exit $failed
