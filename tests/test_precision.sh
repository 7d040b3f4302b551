#!/bin/sh
# test_precision.sh - train_lm --precision bf16: the same losses on any number of threads, other
# losses than in f32, and a run that says its precision and keeps it. Resuming bit for bit is in
# test_resume.sh.
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

[ $failed = 0 ] && echo "precision: all passed"
exit $failed
