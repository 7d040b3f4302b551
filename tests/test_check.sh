#!/bin/sh
# test_check.sh - files are tried out by another process before a program opens them: what is whole is
# opened, and a file on which HDF5 crashes or takes too much memory ends in a sentence.
set -u
B=${B:-build}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
failed=0
export OMP_NUM_THREADS=1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

fail() {
    echo "FAIL: $*"
    failed=1
}
refused() { # words command...
    expected=$1
    shift
    "$@" >"$dir/out" 2>&1 </dev/null
    status=$?
    [ $status = 1 ] || fail "status $status of: $*"
    grep -q -e "$expected" "$dir/out" || fail "no \"$expected\" by $*: $(cat "$dir/out")"
}

# HDF5 1.10 crashes while it builds a sorted table of the links of a damaged group.
grep -rnE 'H5_ITER_(INC|DEC)|H5[LO]visit|_by_idx|H5_INDEX_CRT_ORDER|H5Giterate|H5Gget_objname' \
    --include='*.c' --include='*.h' tensor autograd layers optim examples bench tests/support >"$dir/tables" &&
    fail "HDF5 is asked for a sorted table: $(cat "$dir/tables")"

seq -f 'line %g of a text' 300 >"$dir/text"
small="--mixers gdn2:num_heads=1:head_dim=4 --no-mlp --width 8 --layers 2 --len 16 --batch 2 --sample 0 --steps 2"
# shellcheck disable=SC2086 # the flags are to be split
"$B/examples/train_lm" $small --data "$dir/text" --out "$dir/run" >"$dir/out" 2>&1 || fail "train_lm: $(cat "$dir/out")"
good=$dir/run/step-00000002.h5
"$B/examples/check" "$good" "$dir/run/data.h5" >"$dir/out" 2>&1 || fail "whole files: $(cat "$dir/out")"
grep -q 'a checkpoint; HDF5' "$dir/out" && grep -q 'a store of tokens; HDF5' "$dir/out" || fail "check says $(cat "$dir/out")"
refused 'begins with other bytes' "$B/examples/check" "$dir/text"
refused 'cannot be read' "$B/examples/check" "$dir/nothing"
refused 'Usage' "$B/examples/check"
# HDF5 1.10 reads an attribute 14 KB behind its block, which was memory that it had kept since its start; 1.14 sees the end.
crashes='\(HDF5 crashes on it\|ran off end of input buffer\)'
[ -n "${SAN:-}" ] || refused "$crashes" "$B/examples/check" tests/data/damaged/attribute.h5

# Without the program beside it, nothing is opened.
mkdir "$dir/bin"
cp "$B/examples/generate" "$dir/bin"
refused 'step-00000002.h5: is not opened, because .*/bin/check, .*: No such file' "$dir/bin/generate" "$good" x --tokens 1
printf '#!/bin/sh\nexit 3\n' >"$dir/bin/check"
refused 'cannot be started: Permission denied' "$dir/bin/generate" "$good" x --tokens 1
chmod +x "$dir/bin/check"
refused 'ended with status 3' "$dir/bin/generate" "$good" x --tokens 1
printf '#!/bin/sh\ncat >/dev/null; kill -FPE $$\n' >"$dir/bin/check"
refused 'HDF5 crashes on it (Floating point' "$dir/bin/generate" "$good" x --tokens 1

# Only a crash is the file's fault, or what `check` says with status 1.
for name in KILL TERM XCPU; do
    printf '#!/bin/sh\ncat >/dev/null; kill -%s $$\n' $name >"$dir/bin/check"
    refused 'was ended by a signal (.*try again' "$dir/bin/generate" "$good" x --tokens 1
done
mkdir "$dir/older"
cp "$good" "$dir/older/step-00000001.h5"
cp "$good" "$dir/older/step-00000002.h5"
cp "$B/examples/train_lm" "$dir/bin"
for status in 1 3 4; do
    printf '#!/bin/sh\nprintf ": some words of why"\nexit %s\n' $status >"$dir/bin/check"
    refused 'step-00000002.h5: some words of why' "$dir/bin/train_lm" --resume --out "$dir/older"
    grep -q -e '--resume-from' "$dir/out" && [ $status != 1 ] && fail "status $status blames the file: $(cat "$dir/out")"
done
sh -c 'trap "" CHLD; exec "$@"' - "$B/examples/check" "$good" >"$dir/out" 2>&1 || fail "SIGCHLD is ignored: $(cat "$dir/out")"
if [ -z "${SAN:-}" ]; then
    if command -v flock >/dev/null; then
        refused 'another process has locked it' flock -x "$good" "$B/examples/check" "$good"
    fi
    # Little memory is not the file's fault. The sizes are those of a program with a shared HDF5.
    for size in 40000 82000 86000 90000 100000 140000; do
        (ulimit -v $size && exec "$B/programs/check" "$good") >"$dir/out" 2>&1 && continue
        grep -E 'damaged|harm|crashes|cannot list|no reason|create property|not a readable' "$dir/out" &&
            fail "$size KiB of addresses: $(cat "$dir/out")"
    done
fi

# No program lets HDF5 see a file before check has seen one. In these programs HDF5 is shared, so its calls can be caught.
if [ -z "${SAN:-}" ]; then
    "${CC:-cc}" -shared -fPIC -O1 -D_GNU_SOURCE -std=c11 tests/preload/opening.c -o "$dir/opening.so" || fail "no opening.so"
    case $B in /*) check=$B/programs/check ;; *) check=$PWD/$B/programs/check ;; esac
    env OPENING_AFTER="$dir/never" LD_PRELOAD="$dir/opening.so" "$check" "$good" >"$dir/out" 2>&1
    grep -q 'ended with status 97' "$dir/out" || fail "a call of HDF5 is not caught: $(cat "$dir/out")"
    printf '#!/bin/sh\n: >"%s"\nexec "%s" "$@"\n' "$dir/seen" "$check" >"$dir/bin/check"
    cp "$B/programs/train_lm" "$B/programs/inspect" "$B/programs/ablate" "$B/programs/generate" "$dir/bin"
    asks_first() { # program arguments...
        program=$1
        shift
        rm -rf "$dir/seen" "$dir/first"
        env OPENING_AFTER="$dir/seen" LD_PRELOAD="$dir/opening.so" "$dir/bin/$program" "$@" >"$dir/out" 2>&1 </dev/null ||
            fail "$program $*: $(tail -3 "$dir/out")"
        [ -e "$dir/seen" ] || fail "$program $*: check was not started"
    }
    # shellcheck disable=SC2086
    asks_first train_lm $small --data "$dir/run/data.h5" --out "$dir/first"
    asks_first generate "$good" x --tokens 1
    asks_first inspect "$good" --text x --no-figures --out "$dir/first"
    export OPENING_PROC=no
    asks_first generate "$good" x --tokens 1
    unset OPENING_PROC
    asks_first ablate --layers "$good" --data "$dir/run/data.h5" --rows 1 --out "$dir/first"
fi

if sh tests/support/has.sh h5py; then
    cat >"$dir/spoil.py" <<'END'
import shutil, sys, zlib, h5py, numpy
good, d = sys.argv[1:3]
# An attribute whose type is said to be longer than the file.
with h5py.File(good, 'r') as a, h5py.File(d + '/crash.h5', 'w', libver='earliest') as b:
    for k, v in a.attrs.items():
        b.attrs[k] = v
    for k, v in a['params'].items():
        b['params/' + k] = v[...]
        b['params/' + k].attrs['crc32c'] = v.attrs['crc32c']
raw = bytearray(open(d + '/crash.h5', 'rb').read())
at = raw.rindex(b'crc32c\0')
assert raw[at - 8:at - 6] == b'\x01\0', raw[at - 8:at]
raw[at - 3] = 0xff
open(d + '/crash.h5', 'wb').write(raw)
# A chunk of 4 MiB that inflates to 600 MB.
shutil.copy(good, d + '/bomb.h5')
with h5py.File(d + '/bomb.h5', 'r+') as f:
    x = f.create_dataset('params/more', (1 << 20,), 'f4', chunks=(1 << 20,), compression='gzip')
    z = zlib.compressobj(1)  # 600 times the same block, the last block, and the sum of 600 MB of zeros
    first, block = (z.compress(bytes(1 << 20)) + z.flush(zlib.Z_FULL_FLUSH) for i in range(2))
    end = b'\x03\x00' + ((600 << 20) % 65521 << 16 | 1).to_bytes(4, 'big')
    assert len(zlib.decompress(first + block + b'\x03\x00' + ((2 << 20) % 65521 << 16 | 1).to_bytes(4, 'big'))) == 2 << 20
    x.id.write_direct_chunk((0,), first + 599 * block + end)
END
    /usr/bin/python3 "$dir/spoil.py" "$good" "$dir" || fail "no spoiled files"
    for f in crash bomb; do
        words=$crashes
        [ $f = bomb ] && words='HDF5 needs more than .* MB'
        # The allocator of a sanitizer sees neither, and has no limit.
        [ -z "${SAN:-}" ] || words=
        [ -n "${SAN:-}" ] && [ $f = bomb ] || refused "$f.h5: .*$words" "$B/examples/check" "$dir/$f.h5"
        refused "$f.h5: .*$words" "$B/examples/generate" "$dir/$f.h5" x --tokens 1
        refused "$f.h5: .*$words" "$B/examples/generate" "$good" x --tokens 1 --load-state "$dir/$f.h5"
        refused "$f.h5: .*$words" "$B/examples/inspect" "$dir/$f.h5" --text x
        refused "$f.h5: .*$words" "$B/examples/ablate" --layers "$dir/$f.h5" --out "$dir/ablate"
        # shellcheck disable=SC2086
        refused "$f.h5: .*$words" "$B/examples/train_lm" $small --init "$dir/$f.h5" --data "$dir/text" --out "$dir/$f"
        # shellcheck disable=SC2086
        refused "$f.h5: .*$words" "$B/examples/train_lm" $small --data "$dir/$f.h5" --out "$dir/$f"
        mkdir -p "$dir/resume-$f" && cp "$dir/$f.h5" "$dir/resume-$f/step-00000002.h5"
        refused "resume-$f.*$words" "$B/examples/train_lm" --resume --out "$dir/resume-$f"
    done
    if [ -z "${SAN:-}" ] && command -v mpirun >/dev/null && ldd "$B/examples/train_lm" | grep -q libmpi; then
        # shellcheck disable=SC2086
        refused "crash.h5: .*$crashes" mpirun --oversubscribe --bind-to none --mca mpi_yield_when_idle 0 -n 2 \
            "$B/examples/train_lm" $small --data "$dir/crash.h5" --out "$dir/ranks"
    fi
else
    echo "note: no h5py; spoiled files are not tested"
fi

[ $failed = 0 ] && echo "files are checked before they are opened"
exit $failed
