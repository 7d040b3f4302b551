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
else
    saved 1 whole
    loaded 2 shard
    saved 2 shard
    loaded 2 shard
    loaded 2 whole
    loaded 1 whole
fi

# h5py reads what ranks have written (the last file is theirs), from Python's own HDF5.
saved 2 shard
if /usr/bin/python3 -c 'import h5py, numpy' 2>/dev/null; then
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
report
