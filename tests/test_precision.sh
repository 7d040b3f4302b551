#!/bin/sh
# test_precision.sh - train_lm --precision bf16: the same losses on any number of threads, other
# losses than in f32, and a run that says its precision and keeps it (resuming bit for bit is in
# test_resume.sh). generate --dtype bf16: nearly the same bits a byte.
set -u
B=${B:-build}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
failed=0

fail() {
    echo "FAIL: $*"
    failed=1
}
i=0
while [ $i -lt 400 ]; do
    echo "$i bottles, $((i * i % 97)) labels, $((i % 7)) corks"
    i=$((i + 1))
done >"$dir/text"
model="--mixers gdn2:num_heads=2:head_dim=16,attn:num_heads=2 --layers 2 --width 64 --batch 4 --len 24"
lm() { # OUT flags...
    out=$1
    shift
    "$B/examples/train_lm" --data "$dir/text" --out "$dir/$out" --sample 0 "$@" >"$dir/$out.txt" 2>&1
}

for threads in 1 2 3 16; do
    # shellcheck disable=SC2086 # the flags are to be split
    lm t$threads $model --steps 4 --precision bf16 --threads $threads || fail "$threads threads: $(cat "$dir/t$threads.txt")"
    cmp -s "$dir/t1/log.csv" "$dir/t$threads/log.csv" || fail "the losses of 1 and $threads threads differ"
    cmp -s "$dir/t1/step-00000004.h5" "$dir/t$threads/step-00000004.h5" ||
        fail "the parameters of 1 and $threads threads differ"
done
# shellcheck disable=SC2086
lm f32 $model --steps 4 || fail "$(cat "$dir/f32.txt")"
cmp -s "$dir/t1/log.csv" "$dir/f32/log.csv" && fail "--precision bf16 changes nothing"
[ "$(grep -c '^bf16 *products in bf16 by ' "$dir/t1.txt")" = 1 ] || fail "it does not say who multiplies: $(cat "$dir/t1.txt")"
grep -q '^bf16' "$dir/f32.txt" && fail "a run in f32 speaks of bf16"

# ---- It stays what it is ----
grep -q '^precision.*bf16' "$dir/t1/config.txt" || fail "config.txt: $(cat "$dir/t1/config.txt")"
grep -q '^precision' "$dir/f32/config.txt" && fail "config.txt of f32 has a line that earlier versions do not know"
lm t1 --resume --steps 6 || fail "$(cat "$dir/t1.txt")"
grep -q '^bf16' "$dir/t1.txt" || fail "it goes on in another precision"
lm t2 --resume --steps 6 --precision f32 && fail "another precision is taken"
grep -q 'precision' "$dir/t2.txt" || fail "the sentence does not name it: $(cat "$dir/t2.txt")"

# ---- Tasks ----
recall() { # OUT flags...
    out=$1
    shift
    "$B/examples/recall" --mixers gdn2:num_heads=2:head_dim=16,attn:num_heads=2 --width 32 --vocab 32 --len 24 --pairs 4 \
        --batch 8 --rows 16 --steps 3 --every 3 --out "$dir/$out" "$@" >"$dir/$out.txt" 2>&1 || fail "recall $*: $(cat "$dir/$out.txt")"
}
recall r32
recall r16 --precision bf16 --threads 1
recall r16x --precision bf16 --threads 3
grep -q '^bf16 *products in bf16 by ' "$dir/r16.txt" || fail "recall does not say who multiplies: $(cat "$dir/r16.txt")"
cmp -s "$dir/r32/model.h5" "$dir/r16/model.h5" && fail "recall --precision bf16 changes nothing"
cmp -s "$dir/r16/model.h5" "$dir/r16x/model.h5" || fail "recall in bf16 depends on the number of threads"
grep -aq 'precision *= *bf16' "$dir/r16/model.h5" || fail "the model of recall does not say its precision"

# ---- Weights in bf16 ----
# shellcheck disable=SC2086
lm loud $model --steps 12 --lr 0.05 || fail "$(cat "$dir/loud.txt")"
score() { # dtype: bits a byte of the first lines
    head -n 20 "$dir/text" | "$B/examples/generate" "$dir/loud/step-00000012.h5" --score --dtype "$1" 2>"$dir/err.txt" ||
        fail "generate --score --dtype $1: $(cat "$dir/err.txt")"
}
number() { sed 's/[^0-9.]*\([0-9.][0-9.]*\).*/\1/' | head -n 1; }
wide=$(score f32)
narrow=$(score bf16)
awk -v a="$(echo "$wide" | number)" -v b="$(echo "$narrow" | number)" \
    'BEGIN { exit !(a > 1 && b > 1 && a - b < 0.05 && b - a < 0.05) }' || fail "f32: $wide; bf16: $narrow"
for dtype in f32 bf16; do # the states differ, however alike the texts are
    "$B/examples/generate" "$dir/loud/step-00000012.h5" bottles --tokens 20 --dtype $dtype --save-state "$dir/$dtype.h5" \
        >"$dir/gen.txt" 2>&1 || fail "generate --dtype $dtype: $(cat "$dir/gen.txt")"
done
cmp -s "$dir/f32.h5" "$dir/bf16.h5" && fail "--dtype bf16 changes nothing"

[ $failed = 0 ] && echo "precision: all passed"
exit $failed
