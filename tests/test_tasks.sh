#!/bin/sh
# test_tasks.sh - the programs of the synthetic tasks: each learns a tiny setting beyond what a guess
# can do, leaves models that can be opened, and gives the same on one and two threads.
set -u
B=${B:-build}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
failed=0
export OMP_NUM_THREADS=1 # models of this size only wait for a team; one call below asks for two

fail() {
    echo "FAIL: $*"
    failed=1
}
run() { # OUT program arguments...
    out=$1 program=$2
    shift 2
    "$B/examples/$program" "$@" >"$dir/$out" 2>&1 || fail "$program $*: $(cat "$dir/$out")"
}
# The accuracy of a line of the table of results is between two numbers.
within() { # OUT point low high
    awk -v point="$2" -v low="$3" -v high="$4" '
        index($0, point " ") == 1 { n = split($0, f, " "); a = f[n - 2]; seen++ }
        END { exit !(seen == 1 && a >= low && a <= high) }' "$dir/$1" ||
        fail "$1: accuracy of $2 is not within $3 .. $4: $(cat "$dir/$1")"
}
small="--layers 2 --width 32 --batch 32 --rows 64 --every 1000"

# ---- Each learns ----
# shellcheck disable=SC2086 # the flags are to be split
{
    run recall recall $small --pairs 2 --len 16 --vocab 32 --steps 200 --lr 1e-2 --seed 2 --out "$dir/recall.out" \
        --mixers gdn2:num_heads=2:head_dim=16
    run state state $small --dense --max 12 --test-len 12,40 --steps 150 --lr 1e-2 \
        --mixers gdn2:num_heads=2:head_dim=16:allow_neg_eigval=true --out "$dir/state.out"
    run blind state $small --dense --max 12 --test-len 12,40 --steps 150 --lr 1e-2 --mixers gdn2:num_heads=2:head_dim=16
    run copy synthetic $small --task copy --len 6 --symbols 4 --steps 150 --lr 1e-2 --mixers gdn:num_heads=2:head_dim=16 \
        --no-mlp --out "$dir/synthetic.out"
    run stack synthetic $small --task stack --len 18 --stacks 2 --symbols 4 --steps 150 --lr 1e-2 \
        --mixers kda:num_heads=2:head_dim=16
    run needle needle $small --len 128 --digits 1 --steps 40 --batch 16 --lr 1e-2 --mixers gdn2:num_heads=2:head_dim=16 \
        --out "$dir/needle.out"
}
