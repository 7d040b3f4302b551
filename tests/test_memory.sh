#!/bin/sh
# test_memory.sh - with little memory a program ends with status 0, or with 1 and a sentence.
#
# First each allocation of a program fails in turn (tests/preload/failing.c), alone and with all after it. Then the
# whole process has little address space, libraries included (tests/limits.sh). PAL_TEST_ALL=1 takes every allocation and all
# limits; without it a few are tried.
B=${B:-build}
if [ -n "$SAN" ]; then
    echo "note: no test of little memory under a sanitizer, which takes memory itself"
    exit 0
fi
# Programs with a shared HDF5, whose allocations are those of another library.
case $B in /*) x=$B/programs ;; *) x=$PWD/$B/programs ;; esac
tests=$PWD/tests
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failed=0
fail() {
    echo "FAIL: $*"
    failed=1
}
"${CC:-cc}" -shared -fPIC -O1 -D_GNU_SOURCE -std=c11 tests/preload/failing.c -o "$dir/failing.so" || exit 1
cd "$dir" || exit 1
ulimit -c 0
export GOMP_SPINCOUNT=1000 # no second team that depends on the load (tensor/share.c)
seq -f 'line %g of a small text' 800 >text.txt
small="--layers 1 --width 16 --len 16 --batch 2 --steps 2"
tiny="--mixers gdn2:num_heads=1:head_dim=8 --layers 1 --width 16 --rows 8 --vocab 32 --pairs 4 --len 24 --steps 2"
"$x/train_lm" --data text.txt $small --sample 0 --out run >/dev/null && "$x/recall" $tiny --out task >/dev/null ||
    exit 1
model=run/step-00000002.h5

# Status and sentence of what ran; what is said goes to stderr. All files are whole, and no message may blame one.
judge() { # STATUS what
    if grep -q -e damaged -e crashes -e 'cannot list' -e 'gave no reason' err; then
        fail "$2: status $1 and a false reason: $(tail -1 err | cut -c1-200)"
    fi
    case $1 in
    0) ;;
    1) [ -s err ] || fail "$2: status 1 and no sentence" ;;
    *) fail "$2: status $1: $(tail -1 err | cut -c1-200)" ;;
    esac
}

# ---- Each allocation in turn ----
each() { # STEP result command...: `result` has the same bytes if the status is 0
    step=$1 result=$2
    shift 2
    rm -rf out && mkdir out
    FAIL_COUNT=count LD_PRELOAD=$dir/failing.so "$@" >text.out 2>err || fail "$*: $(tail -1 err)"
    count=$(cat count)
    [ "$count" -gt 40 ] || fail "$*: $count allocations were counted"
    cp "$result" wanted
    for all in "" 1; do
        at=1
        while [ "$at" -le "$count" ]; do
            rm -rf out && mkdir out
            env ${all:+FAIL_ALL=1} FAIL_AT=$at LD_PRELOAD="$dir/failing.so" timeout 300 "$@" >text.out 2>err
            status=$?
            judge $status "allocation $at${all:+ and all after it} of $(basename "$1") $2"
            [ $status != 0 ] || cmp -s "$result" wanted || fail "allocation $at of $(basename "$1") $2: another result"
            at=$((at + step))
        done
    done
}
[ -n "$PAL_TEST_ALL" ] && step=1 || step=307
export OMP_NUM_THREADS=1
each $step out/step-00000002.h5 "$x/train_lm" --data text.txt $small --sample 2 --held-out 0.1 --eval-every 1 --out out
each $step out/state.h5 "$x/generate" $model abc --tokens 3 --save-state out/state.h5
each $step text.out "$x/generate" $model --score "a text of some words"
each $step text.out "$x/tokenize" --train-vocab 300 --out store.h5 --save-tokenizer out.json text.txt
each $step out/index.html "$x/inspect" $model --text abc --no-figures --out out
each $step out/model.h5 "$x/recall" $tiny --out out
each $step out/layers.csv "$x/ablate" --layers task/model.h5 --rows 4 --out out

# ---- Little address space ----
[ -n "$PAL_TEST_ALL" ] && sizes=$(seq 60 12 900) || sizes="72 144"
# shellcheck disable=SC2086 # a list
THREADS="${PAL_TEST_ALL:+1 }2" sh "$tests/limits.sh" "$x" 1 $sizes || failed=1
# At some of these sizes `check`, which calls HDF5, lacks memory, and the program itself does not.
for mebibytes in 76 78 80 82 84 86 88; do
    (ulimit -v $((mebibytes * 1024)) && exec timeout 300 "$x/generate" $model abc --tokens 3) >text.out 2>err
    judge $? "$mebibytes MiB: generate"
done
exit $failed
