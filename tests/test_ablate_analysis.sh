#!/bin/sh
# test_ablate_analysis.sh - ablate --layers with --heads, --lens and --patch: on a model of a task, of a text, and on a released
# model's folder. That the edits are what they say is held in tests/test_ablate_probe.c.
. tests/support/ablate.sh

cat >"$dir/tiny.study" <<'END'
task = mqar:vocab=16:len=16:pairs=2,3
width = 16
layers = 2
mlp = 16
steps = 30
batch = 8
rows = 8
models = true
variant.full = gdn2:num_heads=2:head_dim=8
END
works study "$dir/tiny.study"
model=$dir/study/runs/mqar-full-1.h5

for by in zero mean resample; do
    works "$by" --layers "$model" --rows 8 --heads --by "$by"
    # 2 mixers, 2 MLPs, 4 heads, a pair; every interval has its change within.
    [ "$(wc -l <"$dir/$by/heads.csv")" = 10 ] || fail "$by: not 9 edits: $(cat "$dir/$by/heads.csv")"
    awk -F, -v by=$by 'NR > 1 && ($2 != by || $5 == 0 || !($6 < $7)) { bad = 1 } END { exit bad }' "$dir/$by/heads.csv" ||
        fail "$by: $(cat "$dir/$by/heads.csv")"
    [ -z "$(command -v gnuplot)" ] || grep -q '</svg>' "$dir/$by/heads.svg" || fail "$by: no heat map"
done
cmp -s "$dir/zero/heads.csv" "$dir/mean/heads.csv" && fail "zero and mean are the same"
# A mixer that adds zeros is one that is skipped.
[ "$(awk -F, '$1 == "mixer" && $3 == 1 { printf "%.6f", $5 }' "$dir/zero/heads.csv")" = \
    "$(awk -F, '$1 == 1 && $3 == "skip" { printf "%.6f", $5 }' "$dir/zero/layers.csv")" ] || fail "zeros are not a skip"

works all --layers "$model" --rows 8 --lens --patch 0,1
[ "$(awk -F, '$1 == 1 { print $2 }' "$dir/all/lens.csv")" = "$(awk -F, '$3 == "none" { printf "%.9g", $4 }' "$dir/all/layers.csv")" ] ||
    fail "the lens at the last layer is not the model: $(cat "$dir/all/lens.csv")"
[ "$(awk -F, '$1 == "out" { print $4 }' "$dir/all/patch.csv" | tr '\n' ' ')" = "1 1 " ] || fail "patch: $(cat "$dir/all/patch.csv")"
# 4 places, 2 heads and 16 tokens of 2 layers; what comes before all questions is read by none after the last layer.
[ "$(wc -l <"$dir/all/patch.csv")" = 45 ] || fail "patch: $(cat "$dir/all/patch.csv")"
awk -F, '$1 == "token" && $2 == 1 && $3 < 4 && $4 ^ 2 > 1e-8 { bad = 1 } END { exit bad }' "$dir/all/patch.csv" ||
    fail "tokens that nothing asks: $(cat "$dir/all/patch.csv")"
if sh tests/support/has.sh h5py numpy; then
    /usr/bin/python3 - "$dir/all" >"$dir/same.log" 2>&1 <<'END' || fail "npz: $(cat "$dir/same.log")"
import sys, numpy, h5py
for f in 'lens', 'patch':
    z, h = numpy.load('%s/%s.npz' % (sys.argv[1], f)), h5py.File('%s/%s.h5' % (sys.argv[1], f), 'r')
    assert sorted(z) == sorted(h) and all(numpy.array_equal(z[k], h[k][()], equal_nan=True) for k in z), f
END
else
    echo "note: no NumPy or no h5py; .npz is not compared with HDF5"
fi

# ---- Texts: of a model, and of a folder that others have released ----
cat >"$dir/clean.txt" <<'END'
The grass is green. The sky is blue.
END
sed 's/grass/glass/; s/sky/sea/' "$dir/clean.txt" >"$dir/corrupted.txt"
"$B/examples/train_lm" --data README.md --mixers kda:num_heads=2:head_dim=8 --layers 1 --width 16 --batch 2 --len 32 --steps 4 \
    --held-out 0.1 --sample 0 --out "$dir/lm" >"$dir/lm.log" 2>&1 || fail "train_lm: $(cat "$dir/lm.log")"
works text --layers "$dir/lm/step-00000004.h5" --rows 3 --heads --by resample --lens --patch "$dir/clean.txt,$dir/corrupted.txt"
[ "$(awk -F, '$1 == "out" { print $4 }' "$dir/text/patch.csv")" = 1 ] || fail "patch of texts: $(cat "$dir/text/patch.csv")"
folder=tests/data/hf/fla_gdn
# Without cJSON and PCRE2 folders are not read.
if [ -d $folder ] && ! grep -q 'byte-level BPE' "$B/left-out" 2>/dev/null && works folder --layers $folder --data mqar:vocab=16:len=16:pairs=2 --rows 8 --heads --lens --patch 0,1; then
    grep -q '^head,zero,0,1,' "$dir/folder/heads.csv" || fail "a folder: $(cat "$dir/folder/heads.csv")"
fi

# ---- Mistakes ----
wrong() { # words arguments
    words=$1
    shift
    if ablate wrong "$@"; then fail "accepted: $*"; fi
    says wrong "$words"
}
wrong 'rows are different numbers' --layers "$model" --patch 1,1
wrong 'should be two rows, I,J, or two texts' --layers "$model" --patch 1
wrong 'so two texts are wanted' --layers "$dir/lm/step-00000004.h5" --rows 3 --patch 1,2
echo short >"$dir/short.txt"
wrong 'as many are wanted' --layers "$dir/lm/step-00000004.h5" --rows 3 --patch "$dir/clean.txt,$dir/short.txt"
wrong 'and --patch go with --layers' "$dir/tiny.study" --lens

[ $failed = 0 ] && echo "heads, the lens and patching are what they say"
exit $failed
