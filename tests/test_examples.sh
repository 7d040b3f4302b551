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
grep -q 'there is no best checkpoint' "$D/out" || fail "no sentence"
echo ok
