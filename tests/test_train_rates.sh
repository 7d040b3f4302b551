#!/bin/sh
# test_train_rates.sh - train_lm: the rate finder, warm restarts, a rate that changes during a run, statistics of
# parameters and the noise scale in the log.
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
seq -f 'line %g of a text' 300 >"$dir/text"
small="--data $dir/text --mixers gdn2:num_heads=1:head_dim=8 --layers 1 --width 16 --no-mlp --len 16 --batch 2 --sample 0"

run() { # folder arguments...
    to=$1
    shift
    # shellcheck disable=SC2086 # the flags are to be split
    "$B/examples/train_lm" $small --out "$dir/$to" "$@" >"$dir/out" 2>&1
}
column() { # of a folder's log, by name
    awk -F, -v name="$2" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) c = i; next } { print c ? $c : "none" }' "$dir/$1/log.csv"
}

run found --find-lr || fail "--find-lr: $(tail -3 "$dir/out")"
grep -q '^the loss falls fastest at [0-9.e-]* .*: begin with --lr [0-9.e-]*$' "$dir/out" || fail "no rate: $(tail -3 "$dir/out")"
[ ! -e "$dir/found/log.csv" ] || fail "--find-lr leaves a run"

run again --steps 12 --warmup 0 --lr 1 --lr-end 0 --schedule restarts --decay-steps 2 --growth 2 || fail "restarts: $(cat "$dir/out")"
[ "$(column again lr | tr '\n' ' ')" = "1 0.5 1 0.853553 0.5 0.146447 1 0.961940 0.853553 0.691342 0.5 0.308658 " ] ||
    column again lr | awk 'BEGIN { split("1 .5 1 .853553 .5 .146447 1 .96194 .853553 .691342 .5 .308658", w, " ") }
        { if ($1 - w[NR] > 1e-5 || w[NR] - $1 > 1e-5) exit 1 }' || fail "rates of restarts: $(column again lr | tr '\n' ' ')"

run change --steps 4 --save-every 2 --warmup 0 --lr 0.001 --lr-at 3=0.5 || fail "--lr-at: $(cat "$dir/out")"
[ "$(column change lr | tr '\n' ' ')" = "0.001 0.001 0.0005 0.0005 " ] || fail "rates: $(column change lr | tr '\n' ' ')"
"$B/examples/train_lm" --resume --out "$dir/change" --steps 6 --lr-at 2=0.5 >"$dir/out" 2>&1 && fail "steps that were made have another rate"
grep -q "says something else of the 4 steps that were made" "$dir/out" || fail "no sentence: $(cat "$dir/out")"
"$B/examples/train_lm" --resume --out "$dir/change" --steps 6 --lr-at 3=0.5,6=2 --sample 0 >"$dir/out" 2>&1 || fail "resume: $(cat "$dir/out")"
[ "$(column change lr | tail -2 | tr '\n' ' ')" = "0.0005 0.002 " ] || fail "rates to come: $(column change lr | tr '\n' ' ')"
run bad --lr-at 3=0.5,3=1 && fail "steps that do not rise"
grep -q 'step 3 comes after step 3' "$dir/out" || fail "no sentence: $(cat "$dir/out")"

look="--watch *.b_proj.weight --watch-every 2 --noise --accumulate 2"
# shellcheck disable=SC2086
run whole --steps 6 --save-every 3 $look || fail "--watch: $(cat "$dir/out")"
# shellcheck disable=SC2086
run half --steps 3 --save-every 3 $look || fail "--watch: $(cat "$dir/out")"
"$B/examples/train_lm" --resume --out "$dir/half" --steps 6 --sample 0 >"$dir/out" 2>&1 || fail "resume: $(cat "$dir/out")"
cmp "$dir/whole/log.csv" "$dir/half/log.csv" || fail "a run that went on has another log"
[ "$(column whole model.layers.0.attn.b_proj.weight.update_ratio | grep -c '^[0-9.e-][0-9.e-]*$')" = 3 ] || fail "rows: $(cat "$dir/whole/log.csv")"
column whole noise_scale | grep -q '[0-9]' || fail "no noise: $(cat "$dir/whole/log.csv")"
run quiet --noise && fail "noise of one batch"
grep -q 'set accumulate to 2 or more' "$dir/out" || fail "no sentence: $(cat "$dir/out")"
run none --watch 'nothing*' && fail "a pattern without a match"
grep -q "a pattern matches no parameter's name" "$dir/out" || fail "no sentence: $(cat "$dir/out")"
exit $failed
