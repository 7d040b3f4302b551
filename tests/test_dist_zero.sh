#!/bin/sh
# test_dist_zero.sh - the optimiser's state divided among ranks trains as if it were not; what some
# ranks save, others go on with.
set -u
. tests/support/ranks.sh
program=$B/tests/dist_zero

for n in $all_ranks; do
    holds "$n" "$program" "$dir" steps
    holds "$n" "$program" "$dir" steps blocking
    holds "$n" "$program" "$dir" full
    [ -z "$(find "$dir" -name '*.tmp*')" ] || fail "files that were begun are left"
done

saved() { # N shard|whole
    rm -rf "$dir/run"
    holds "$1" "$program" "$dir" save "$2"
    cmp -s "$dir/c.h5" "$dir/d.h5" || fail "two files of the same are not the same"
}
loaded() { # N shard|whole
    rm -rf "$dir/again"
    cp -r "$dir/run" "$dir/again"
    holds "$1" "$program" "$dir" load "$2"
}
if [ "${PAL_TEST_ALL:-0}" = 1 ]; then
    saved 4 shard
    loaded 4 shard
    loaded 3 shard
    loaded 2 shard
    loaded 2 whole
    loaded 1 whole
    saved 3 whole
    loaded 2 shard
    saved 1 whole
    loaded 4 shard
    saved 2 shard
else
    saved 1 whole
    loaded 2 shard
    saved 2 shard
    loaded 1 whole
fi

# h5py reads what ranks have written, from Python's own HDF5.
if sh tests/support/has.sh h5py numpy; then
    checks=$((checks + 1))
    /usr/bin/python3 - "$dir/c.h5" <<'END' || fail "h5py"
import sys, h5py, numpy
f = h5py.File(sys.argv[1])
assert f.attrs['format'] == b'palimpsest arrays 1' and f.attrs['step'] == 6
assert f['optim'].attrs['kind'] == b'adamw' and f['optim/step'][()] == 6
for name, x in f['params'].items():
    assert x.dtype == '<f8' and x.attrs['dtype'] == b'f64' and x.chunks is None
    for group in 'optim/m', 'optim/v', 'average/a':
        y = f[group][name]
        assert y.shape == x.shape and numpy.isfinite(y[()]).all() and (y[()] != 0).any()
        assert len(y.attrs['crc32c']) == (y.nbytes + 2**20 - 1) // 2**20
END
fi

# The same by train_lm: two ranks with --shard, then one process, against one process throughout.
i=0
while [ $i -lt 200 ]; do
    echo "$i bottles, $((i * i % 97)) labels, $((i % 7)) corks"
    i=$((i + 1))
done >"$dir/text"
# Ranks that write a file together meet for each dataset of it, which is most of the time of this.
if [ "${PAL_TEST_ALL:-0}" = 1 ]; then layers=2; else layers=1; fi
model="--data $dir/text --mixers gdn2:num_heads=2:head_dim=8 --layers $layers --width 32 --batch 4 --len 16 --dtype f64 --sample 0
--optimizer muon --average 0.9 --clip 0.5 --save-every 4"
lm=$B/examples/train_lm
# shellcheck disable=SC2086 # the flags are to be split
"$lm" $model --steps 8 --out "$dir/alone" >"$dir/alone.txt" 2>&1 || fail "$(cat "$dir/alone.txt")"
# shellcheck disable=SC2086
holds 2 "$lm" $model --steps 8 --out "$dir/moved" --shard
cp -r "$dir/moved" "$dir/back"
holds 2 "$lm" --resume --steps 10 --out "$dir/moved" --shard
"$lm" --resume --steps 10 --out "$dir/back" >"$dir/alone.txt" 2>&1 || fail "$(cat "$dir/alone.txt")"
"$lm" --resume --steps 10 --out "$dir/alone" >"$dir/alone.txt" 2>&1 || fail "$(cat "$dir/alone.txt")"
for out in moved back; do
    paste -d, "$dir/alone/log.csv" "$dir/$out/log.csv" | awk -F, -v n="$(head -n 1 "$dir/alone/log.csv" | tr , '\n' | wc -l)" '
        NR > 1 { d = $2 - $(n + 2); rows++; if (!(d * d <= 1e-16 * $2 * $2)) bad = 1 }
        END { exit bad || rows != 10 }' || fail "$out and alone have other losses"
done

report
