#!/bin/sh
# test_convert.sh - parameters leave by examples/convert.py and come back bit for bit, and the library
# loads them strictly: a tensor that is renamed, missing or misshapen is an error by name.
set -u
B=${B:-build}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
failed=0

python=
for p in python3 /usr/bin/python3; do
    if [ -z "$python" ] && "$p" -c 'import h5py, numpy' 2>/dev/null; then python=$p; fi
done
if [ -z "$python" ]; then
    echo "note: skipped: no python3 with h5py and numpy; ./deps.sh installs them"
    exit 0
fi
# Threads would only wait for each other here.
OMP_NUM_THREADS=1
export OMP_NUM_THREADS

fail() {
    echo "FAIL: $*"
    failed=1
}
# One Python for all scripts, or else most of the time is spent with its start; a file of its own tries convert.py alone.
mkfifo "$dir/ask" "$dir/told"
"$python" tests/support/forked.py "$dir/ask" "$dir/told" &
exec 3>"$dir/ask" 4<"$dir/told"
python() { # script arguments...; what it prints is in $dir/said
    (IFS='	' && echo "$dir/said	$*") >&3
    read -r status <&4 || fail "forked.py has ended"
    [ "$status" = 0 ]
}
convert() { python examples/convert.py "$@" || fail "convert.py $*: $(cat "$dir/said")"; }
refuses() { # words flags...
    words=$1
    shift
    if python examples/convert.py "$@"; then fail "convert.py $* was accepted"; fi
    grep -qF -e "$words" "$dir/said" || fail "convert.py $*: no word of $words: $(cat "$dir/said")"
    if grep -q Traceback "$dir/said"; then fail "convert.py $*: $(cat "$dir/said")"; fi
}
# One step from the parameters of a file, into a folder.
lm() { # OUT flags...
    out=$1
    shift
    rm -rf "${dir:?}/$out"
    "$B/examples/train_lm" --data README.md --out "$dir/$out" --sample 0 --steps 1 --batch 1 --len 8 --width 16 \
        --mixers gdn2:conv_bias=true,kda,gdn,mamba2:state_size=4:use_bias=true,attn:qkv_bias=true:qk_norm=true,mamba3:state_size=4:is_mimo=true \
        --layers 6 "$@" >"$dir/$out.txt" 2>&1
}
# The same from NAME.h5, which checkpoints remember by the path: it is one path for all.
lm_from() { # NAME [SUFFIX]
    cp "$dir/$1.${2:-h5}" "$dir/init.h5"
    lm "from_$1" --init "$dir/init.h5"
}
# Without cJSON and PCRE2 the library reads HDF5 only.
if grep -q 'byte-level BPE' "$B/left-out" 2>/dev/null; then others=no; else others=yes; fi
# Exits with 0 if two files hold the same names, types, shapes and bits.
cat >"$dir/same.py" <<'PY'
import sys, h5py, numpy as np
def load(path):
    if path.endswith(".npz"):
        return dict(np.load(path))
    with h5py.File(path, "r") as f:
        return {n: d[...] for n, d in f["params"].items()}
a, b = map(load, sys.argv[1:])
assert len(a) > 80 and sorted(a) == sorted(b), sorted(set(a) ^ set(b))
for n in a:
    assert a[n].dtype == b[n].dtype and a[n].shape == b[n].shape and a[n].tobytes() == b[n].tobytes(), n
PY
same() { python "$dir/same.py" "$dir/$1" "$dir/$2" || fail "$1 and $2: $(tail -n 1 "$dir/said")"; }

# ---- Out and back, and into the library ----
lm first || fail "$(cat "$dir/first.txt")"
mv "$dir/first/step-00000001.h5" "$dir/ours.h5"
convert "$dir/ours.h5" "$dir/a.npz"
convert "$dir/a.npz" "$dir/back.h5"
convert "$dir/back.h5" "$dir/b.npz"
same ours.h5 back.h5
same ours.h5 a.npz
same a.npz b.npz
lm_from ours || fail "$(cat "$dir/from_ours.txt")"
lm_from back || fail "$(cat "$dir/from_back.txt")"
cmp -s "$dir/from_ours/step-00000001.h5" "$dir/from_back/step-00000001.h5" || fail "trained from what came back differs"
cmp -s "$dir/first/log.csv" "$dir/from_back/log.csv" && fail "--init had no effect"
if lm from_back --init "$dir/back.h5" --resume; then fail "--init was accepted with --resume"; fi

# ---- Other names and types ----
convert "$dir/ours.h5" "$dir/s.safetensors"
convert "$dir/a.npz" "$dir/n.safetensors"
cmp -s "$dir/s.safetensors" "$dir/n.safetensors" || fail "a .safetensors of an .npz is another"
if [ $others = yes ]; then
    lm_from s safetensors || fail "$(cat "$dir/from_s.txt")"
    same from_ours/step-00000001.h5 from_s/step-00000001.h5
fi
convert --dtype f64 "$dir/ours.h5" "$dir/d.npz"
convert "$dir/d.npz" "$dir/d.h5"
lm_from d || fail "$(cat "$dir/from_d.txt")"
cmp -s "$dir/from_ours/step-00000001.h5" "$dir/from_d/step-00000001.h5" || fail "f64 files load otherwise"
convert --dtype bf16 "$dir/ours.h5" "$dir/b.safetensors"
if [ $others = yes ]; then lm_from b safetensors || fail "$(cat "$dir/from_b.txt")"; fi
convert --dtype f16 "$dir/ours.h5" "$dir/h.npz"
convert "$dir/h.npz" "$dir/h.h5"
convert --dtype bf16 "$dir/h.npz" "$dir/h.safetensors"
if "$python" -c 'import torch' 2>/dev/null; then
    convert "$dir/ours.h5" "$dir/t.pt"
    convert "$dir/t.pt" "$dir/t.h5"
    same ours.h5 t.h5
    convert --dtype bf16 "$dir/ours.h5" "$dir/tb.pt"
    convert "$dir/tb.pt" "$dir/tb.safetensors"
    cmp -s "$dir/b.safetensors" "$dir/tb.safetensors" || fail "a .safetensors of a .pt is another"
    mkdir "$dir/folder"
    cp "$dir/tb.pt" "$dir/folder/pytorch_model.bin"
    convert "$dir/folder" "$dir/folder/model.safetensors"
    cmp -s "$dir/b.safetensors" "$dir/folder/model.safetensors" || fail "a .safetensors of a folder is another"
    echo '{}' >"$dir/folder/config.json"
    convert "$dir/folder" "$dir/new"
    cmp -s "$dir/b.safetensors" "$dir/new/model.safetensors" || fail "a .safetensors in a new folder is another"
    [ -f "$dir/new/config.json" ] || fail "config.json does not go along"
    refuses "File exists" "$dir/folder" "$dir/new"
else
    echo "note: .pt is not tested: no torch"
fi

# Names, roundings, and spoiled copies: each of the latter with the words it should be refused by.
"$python" - "$dir" >"$dir/spoiled" <<'PY' || fail "names or roundings, see above"
import shutil, sys
import h5py, numpy as np
sys.path.insert(0, "examples")
sys.dont_write_bytecode = True
import convert
folder = sys.argv[1] + "/"

assert np.load(folder + "a.npz")["model.layers.0.attn.q_conv1d.weight"].shape == (16, 1, 4)

one = np.float32(1)  # neighbours in bf16 are 2^-7 apart there
x = np.array([1, 1 + 2**-8, 1 + 2**-8 + 2**-20, 1 + 3 * 2**-8, -1 - 2**-9, 0, np.inf, np.nan, 3.4e38], np.float32)
y = convert.bf16_to_f32(convert.f32_to_bf16(x))
want = np.array([1, 1, 1 + 2**-7, 1 + 2**-6, -1, 0, np.inf, np.nan, np.inf], np.float32)
assert np.array_equal(y, want, equal_nan=True), y
with h5py.File(folder + "ours.h5") as a, h5py.File(folder + "h.h5") as h:
    for name, d in a["params"].items():
        assert h["params"][name].dtype == np.float32
        assert np.all(abs(h["params"][name][...] - d[...]) <= 2**-11 * abs(d[...]) + 2**-25), name

def spoil(words, change):
    spoil.count += 1
    path = f"{folder}{spoil.count}.npz"
    t = dict(np.load(folder + "a.npz"))
    change(t)
    np.savez(path, **t)
    print(path, words, sep="|")
spoil.count = 0
q = "model.layers.0.attn.q_proj.weight"
new = "model.layers.7.attn.q_proj.weight"
spoil(f"do not fit: 1 missing: {q}; 1 that the model does not have: {new}", lambda t: t.update({new: t.pop(q)}))
spoil(f"do not fit: 1 missing: {q}", lambda t: t.pop(q))
spoil(f"do not fit: 1 of another shape: {q} is f32[4,64] where f32[16,16] is wanted",
      lambda t: t.update({q: t[q].reshape(4, 64)}))
spoil("do not fit: 1 that the model does not have: extra.x", lambda t: t.update({"extra.x": t[q]}))
spoil("do not fit: 1 missing: lm_head.weight",  # equal to the embeddings: tied, and this model is not
      lambda t: t.update({"lm_head.weight": t["model.embeddings.weight"]}))
np.savez(folder + "whole.npz", **{"model.norm.weight": np.arange(3)})
PY
refused=0
while IFS='|' read -r file words; do
    refused=$((refused + 1))
    convert --keep-unknown "$file" "$dir/spoiled.h5"
    if lm spoiled --init "$dir/spoiled.h5"; then fail "${file##*/} was loaded, not refused: $words"; fi
    grep -qF "$words" "$dir/spoiled.txt" || fail "no word of $words: $(cat "$dir/spoiled.txt")"
done <"$dir/spoiled"
[ $refused = 5 ] || fail "only $refused spoiled files"

# ---- Tied heads ----
convert "$dir/5.npz" "$dir/tied.h5"
grep -q "a tied head, left out" "$dir/said" || fail "no word of the tied head: $(cat "$dir/said")"
convert --with-head "$dir/tied.h5" "$dir/untied.npz"
same 5.npz untied.npz
convert --with-head "$dir/5.npz" "$dir/kept.h5"
lm kept --init "$dir/kept.h5" || fail "$(cat "$dir/kept.txt")"

# ---- What is refused, and what --check leaves ----
refuses "1 names are unknown (--keep-unknown takes them as they are): extra.x" "$dir/4.npz" "$dir/no.h5"
refuses "model.norm.weight is int64" "$dir/whole.npz" "$dir/no.h5"
refuses "not both" "$dir/ours.h5" "$dir/no.h5"
refuses "an .h5 holds f32 or f64" --dtype f16 "$dir/a.npz" "$dir/no.h5"
refuses "NumPy has no bf16" --dtype bf16 "$dir/ours.h5" "$dir/no.npz"
refuses "suffix" "$dir/ours.h5" "$dir/no.txt"
refuses "TO is missing" "$dir/ours.h5"
refuses "" "$dir/none.npz" "$dir/no.h5"
refuses "is read by the programs themselves" --check "$dir/s.safetensors"
refuses "TO is an .h5 or a .safetensors" "$dir/a.npz" "$dir/no.pt"
for kind in npz h5; do
    cp README.md "$dir/readme.$kind"
    refuses "readme.$kind: " --check "$dir/readme.$kind"
done
head -c -4 "$dir/s.safetensors" >"$dir/torn.safetensors"
if lm torn --init "$dir/torn.safetensors"; then fail "a torn file was loaded"; fi
[ $others = no ] || grep -qF "it ends within" "$dir/torn.txt" || fail "no word of the torn file: $(cat "$dir/torn.txt")"
convert --check "$dir/a.npz" "$dir/no.h5"
grep -q '^model.layers.3.attn.conv1d.weight  *f32\[40,1,4\]$' "$dir/said" || fail "--check: $(cat "$dir/said")"
[ -z "$(ls "$dir" | grep -e '^no\.' -e '\.tmp$')" ] || fail "a file was written: $(ls "$dir")"

[ $failed = 0 ] && echo "parameters go out and come back; $refused spoiled files were refused"
exit $failed
