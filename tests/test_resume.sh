#!/bin/sh
# test_resume.sh - a run that is killed (SIGKILL) three times at steps nobody chose, and continued
# each time, ends in the checkpoint and the log of the run that was left alone, byte for byte.
set -u
B=${B:-build}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
failed=0
export OMP_NUM_THREADS=1

fail() {
    echo "FAIL: $*"
    failed=1
}
i=0
while [ $i -lt 300 ]; do
    echo "$i bottles, $((i * i % 97)) labels, $((i % 7)) corks"
    i=$((i + 1))
done >"$dir/text"

steps=200
model="--mixers gdn:num_heads=1:head_dim=8 --layers 1 --width 16 --mlp-width 32 --batch 2 --len 16"
run="$model --data $dir/text --steps $steps --schedule cosine --save-every 7 --sample 20"
lm() { "$B/examples/train_lm" "$@"; }
rows() { if [ -f "$dir/cut/log.csv" ]; then wc -l <"$dir/cut/log.csv"; else echo 0; fi; }

# Starts or continues the run and kills it when its log has `at` rows, or a few more.
killed() { # at flags...
    at=$1
    shift
    "$B/examples/train_lm" "$@" --out "$dir/cut" >"$dir/cut.txt" 2>&1 & # itself, not a shell around it
    pid=$!
    while [ "$(rows)" -lt "$at" ] && kill -0 $pid 2>/dev/null; do sleep 0.01; done
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    status=$?
    [ $status = 137 ] || fail "$*: it ended by itself ($status): $(cat "$dir/cut.txt")"
}

# The same places every day would find the same mistakes: they come from the clock.
seed=${SEED:-$(($(date +%s) % 1000))}
echo "SEED=$seed repeats this"
check() { # what flags of the first run -- flags of the continued ones
    what=$1
    shift
    rm -rf "$dir/whole" "$dir/cut"
    # shellcheck disable=SC2086 # the flags are to be split
    lm $run "$@" --out "$dir/whole" >"$dir/whole.txt" 2>&1 || fail "$what: $(cat "$dir/whole.txt")"
    at=$((10 + seed % 40))
    # shellcheck disable=SC2086
    killed $at $run "$@"
    killed $((at + 20 + seed % 13)) --resume
    killed $((at + 50 + seed % 29)) --resume --threads 2
    lm --resume --out "$dir/cut" >"$dir/cut.txt" 2>&1 || fail "$what: $(cat "$dir/cut.txt")"
    for file in step-00000200.h5 log.csv best.txt samples.txt; do
        if [ -f "$dir/whole/$file" ] && ! cmp -s "$dir/whole/$file" "$dir/cut/$file"; then
            fail "$what, seed $seed: $file is not that of a run that was not stopped"
            diff "$dir/whole/$file" "$dir/cut/$file" | head -n 5
        fi
    done
    [ "$(wc -l <"$dir/cut/log.jsonl")" = $steps ] || fail "$what: log.jsonl has not a row a step"
    [ "$(echo "$dir"/cut/*.tmp*)" = "$dir/cut/*.tmp*" ] || fail "$what: temporary files are left"
    seed=$((seed + 17))
}
# These options do not touch each other, so that some are tried together; with PAL_TEST_ALL=1 they are by themselves, too.
if [ "${PAL_TEST_ALL:-0}" = 1 ]; then
    check "windows"
    check "products in bf16" --precision bf16
    check "no prefetch, two threads" --no-prefetch --threads 2 --optimizer muon
    check "accumulation, average, evaluation" --accumulate 3 --average 0.9 --held-out 0.1 --eval-every 10 --sample-every 25
fi
check "accumulation, average, evaluation, no prefetch" --accumulate 3 --average 0.9 --held-out 0.1 --eval-every 10 \
    --sample-every 25 --optimizer lion --no-prefetch

# Documents of their own for packing.
split -l 10 "$dir/text" "$dir/doc-"
"$B/examples/tokenize" --out "$dir/store.h5" "$dir"/doc-* >"$dir/tok.txt" 2>&1 || fail "tokenize: $(cat "$dir/tok.txt")"
packed="--data $dir/store.h5 --packed --accumulate 2"
# shellcheck disable=SC2086 # the flags are to be split
[ "${PAL_TEST_ALL:-0}" = 1 ] && check "packed documents" $packed --optimizer adam
# shellcheck disable=SC2086
check "packed documents, two threads, products in bf16" $packed --threads 2 --optimizer muon --precision bf16

# Other kernels have other bits, which is said; the same ones are no reason for a warning.
# shellcheck disable=SC2086
lm $model --data "$dir/text" --steps 1 --sample 0 --out "$dir/kernels" >"$dir/first.txt" 2>&1 || fail "$(cat "$dir/first.txt")"
lm --resume --steps 2 --out "$dir/kernels" >"$dir/same.txt" 2>&1 || fail "$(cat "$dir/same.txt")"
grep -q "warning" "$dir/same.txt" && fail "the same kernels: $(cat "$dir/same.txt")"
PAL_ISA=base "$B/examples/train_lm" --resume --steps 3 --out "$dir/kernels" >"$dir/base.txt" 2>&1 || fail "$(cat "$dir/base.txt")"
if grep -q "^machine.*base" "$dir/same.txt"; then
    echo "note: there are no other kernels than base"
else
    grep -q "warning: the run was made with kernels .* and goes on with kernels base" "$dir/base.txt" ||
        fail "no warning of other kernels: $(cat "$dir/base.txt")"
fi

[ $failed = 0 ] && echo "a run that is killed is the run that was not"
exit $failed
