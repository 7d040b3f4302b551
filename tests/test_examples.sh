#!/bin/sh
# The examples that train, for a few steps: they go on where they were stopped, and load what they saved.
set -e
B=${B:-build}
D=$(mktemp -d)
trap 'rm -rf "$D"' EXIT
fail() { echo "FAIL: $*"; cat "$D/out"; exit 1; }

"$B/examples/05_classify" "$D/digits" 20 >"$D/out" 2>&1 || fail 05_classify
grep -q 'best: accuracy 0\.[0-9]* at step 20' "$D/out" || fail "05_classify has no accuracy"
head -1 "$D/digits/log.csv" | grep -q '^step,loss,lr,grad_norm,digits,accuracy$' || fail "columns"
"$B/examples/06_predict" "$D/digits" >"$D/out" || fail 06_predict
# The accuracy of the loaded model is the one that the run measured.
awk '/accuracy/ { exit !($3 + 0 == $NF + 0) }' "$D/out" || fail "another accuracy"
"$B/examples/06_predict" "$D/nothing" >"$D/out" 2>&1 && fail "06_predict of nothing"
grep -q 'it has no best.txt' "$D/out" || fail "no sentence"

"$B/examples/08_forecast" "$D/forecast" 30 >"$D/out" || fail 08_forecast
grep -q 'MAE 0\.[0-9]*  within [01]\.[0-9]*' "$D/out" || fail "08_forecast has no MAE"
here=$(pwd)
case $B in /*) ;; *) B=$here/$B ;; esac
cd "$D"
if [ "${PAL_TEST_ALL:-0}" = 1 ]; then all="base open:1 mean:0 freeze:2"; else all="base freeze:2"; fi
for what in $all; do
    "$B/examples/09_study" $what 20 >out || fail "09_study $what"
done
grep -q 'froze 6 of model.layers.2.attn' out || fail "gates are not frozen"
[ "$(head -1 build/study-base-1/log.csv | tr ',' '\n' | wc -l)" = 80 ] || fail "columns of 09_study"
grep -q '^model.layers.2.grad_norm [0-9]' out || fail "09_study has no norms: $(cat out)"
[ "$(wc -l <build/study-base-1/log.csv)" = 3 ] || fail "rows of 09_study"
"$B/examples/10_distributed" one 20 >out || fail 10_distributed
grep -q '^1 processes: loss 0\.[0-9]*$' out || fail "10_distributed has no loss"
cd "$here"
# What users begin with fits on a page or two.
wc -l examples/[0-9][0-9]_*.c >"$D/out"
awk '$2 != "total" && $1 >= 100 { bad = 1; print $2 " has " $1 " lines" } END { exit bad }' "$D/out" || fail "long examples"
echo ok
