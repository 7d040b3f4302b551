#!/bin/sh
# test_tasks.sh - the programs of the synthetic tasks: each learns a tiny setting beyond what a guess can do (two of them only
# with PAL_TEST_ALL=1), leaves models that can be opened, and gives the same on one and two threads.
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
small="--layers 2 --width 32 --rows 64 --every 1000"
tiny="num_heads=2:head_dim=16"
learn_recall() { # OUT flags...
    out=$1
    shift
    # shellcheck disable=SC2086 # the flags are to be split
    run "$out" recall $small --pairs 2 --len 16 --vocab 32 --steps 120 --seed 2 --mixers gdn2:$tiny --out "$dir/$out.h5s" "$@"
}

# ---- Each learns ----
learn_recall recall
within recall "2 pairs" 0.9 1 # a guess: 0.06
# shellcheck disable=SC2086
{
    if [ "${PAL_TEST_ALL:-0}" = 1 ]; then copies=150 signs=100 least=0.9; else copies=2 signs=2 least=0; fi # only begun
    run copy synthetic $small --task copy --len 6 --symbols 4 --steps $copies --lr 1e-2 --mixers gdn:$tiny --no-mlp \
        --out "$dir/synthetic.h5s"
    within copy "length 6" $least 1 # a guess: 0.25
    [ "${PAL_TEST_ALL:-0}" = 1 ] && run stack synthetic $small --task stack --len 18 --stacks 2 --symbols 4 --steps 120 --lr 1e-2 --batch 32 \
        --mixers kda:$tiny && within stack "length 18" 0.75 1 # 0.25
    run needle needle $small --len 138 --digits 1 --steps 200 --lr 5e-3 --batch 8 --mixers attn:$tiny --no-mlp \
        --out "$dir/needle.h5s"
    within needle "length 138" 0.5 1 # 0.11: a digit from 1 on

    # Parity beyond the lengths of the training: only who can turn a sign goes on.
    parity="--dense --max 20 --test-len 20,40 --steps $signs --lr 1e-2 --batch 32 --no-mlp"
    gates=$tiny:use_short_conv=false
    run state state $small $parity --mixers gdn2:$gates:allow_neg_eigval=true --out "$dir/state.h5s"
    within state "length 40" $least 1
    [ "${PAL_TEST_ALL:-0}" = 1 ] && run blind state $small $parity --mixers gdn2:$gates && within blind "length 40" 0.25 0.75
}

# ---- What they leave behind ----
for program in recall synthetic needle state; do
    for file in start.h5 model.h5; do [ -s "$dir/$program.h5s/$file" ] || fail "$program: no $file"; done
    cmp -s "$dir/$program.h5s/start.h5" "$dir/$program.h5s/model.h5" && fail "$program: it has learned nothing"
done
# generate builds the model that a file describes, and finds that all parameters fit. (It writes bytes,
# as needle alone does.)
for file in start.h5 model.h5; do
    "$B/examples/generate" "$dir/needle.h5s/$file" "magic" --tokens 3 >"$dir/text" 2>&1 || fail "$file: $(cat "$dir/text")"
done

# ---- The same on two threads, and another seed is another run ----
export OMP_WAIT_POLICY=passive # threads sleep while they wait: the machine may have other work
learn_recall once --steps 20 --rows 4 --batch 8
learn_recall twice --steps 20 --rows 4 --batch 8 --threads 2
cmp -s "$dir/once" "$dir/twice" || fail "two threads: $(diff "$dir/once" "$dir/twice")"
cmp -s "$dir/once.h5s/model.h5" "$dir/twice.h5s/model.h5" || fail "two threads give another model"
learn_recall other --seed 3 --steps 20 --rows 4 --batch 8
cmp -s "$dir/once.h5s/start.h5" "$dir/other.h5s/start.h5" && fail "two seeds give one model"
cmp -s "$dir/once.h5s/start.h5" "$dir/recall.h5s/start.h5" && fail "the description does not tell --steps"

# ---- What a guess is, by the kind of the needle ----
# shellcheck disable=SC2086
for guess in 0.111:single-noise-number 0.167:single-essay-uuid; do
    run guess needle $small --kind ${guess#*:} --digits 1 --len 300 --steps 1 --batch 1 --rows 1 --mixers gdn:$tiny
    grep -q "is right ${guess%%:*} of the time" "$dir/guess" || fail "$guess: $(cat "$dir/guess")"
done

# ---- A run that is stopped: the model is kept, and no score is told that was not measured ----
"$B/examples/recall" --pairs 2 --len 16 --vocab 32 --layers 1 --width 32 --mixers gdn:$tiny --steps 1000000 \
    --every 2 --rows 4 --batch 4 --out "$dir/stopped.h5s" >"$dir/stopped" 2>&1 &
pid=$!
while ! grep -q '^ *4 ' "$dir/stopped" 2>/dev/null && kill -0 $pid 2>/dev/null; do sleep 0.01; done
kill -TERM $pid
wait $pid
status=$?
[ $status = 1 ] || fail "stopped: status $status: $(cat "$dir/stopped")"
grep -q '^recall: stopped after [0-9]* steps$' "$dir/stopped" || fail "not stopped: $(cat "$dir/stopped")"
grep -q 'whole rows\|A guess' "$dir/stopped" && fail "stopped, and yet results: $(cat "$dir/stopped")"
cmp -s "$dir/stopped.h5s/start.h5" "$dir/stopped.h5s/model.h5"
[ $? = 1 ] || fail "stopped: it has kept nothing"

# ---- Rows to look at, and help ----
run rows recall --show 2 --pairs 3 --len 12 --vocab 16
[ "$(grep -o '\[k[0-9]*: v[0-9]*\]' "$dir/rows" | wc -l)" = 6 ] || fail "rows: $(cat "$dir/rows")"
run rows needle --show 3 --digits 3
[ "$(grep -c 'for [a-z-]* is: \([0-9]*\)\..* It is: \[\1\]$' "$dir/rows")" = 3 ] || fail "rows: $(cat "$dir/rows")"
for program in recall needle state synthetic; do
    run help $program --help
    { grep -q -e '--mixers=LIST' "$dir/help" && grep -q "Try:" "$dir/help"; } || fail "$program --help does not teach"
done

# ---- What is refused ----
refuses() { # words program arguments...
    words=$1 program=$2
    shift 2
    if "$B/examples/$program" "$@" >"$dir/out" 2>&1; then fail "accepted: $program $*"; fi
    grep -q -e "$words" "$dir/out" || fail "no \"$words\": $(cat "$dir/out")"
}
refuses "task mqar: len=64 should be even and at least four times its 17 pairs" recall --pairs 17
refuses 'there is no key "min"; its keys are len, test_len' state --task s3 --min 3
refuses '\-\-task=tree should be palindrome|copy|stack' synthetic --task tree
refuses '\-\-task=mqar should be parity|s3|a5|s5' state --task mqar # a task, but not of this program
refuses "kind=hay should be single-noise-number|" needle --kind hay
refuses "mixer" recall --mixers nothing
refuses "steps=0 should be a whole number from 1 to 2147483647" state --steps 0
refuses "batch=3000000000 should be a whole number from 1 to 2147483647" recall --batch 3000000000
refuses "threads=1000000 should be a whole number from 0 to 4096" recall --threads 1000000
refuses "lr=-1 should be a number from" needle --lr -1
refuses "only options" synthetic palindrome
# It leaves its own start and no model, least of all that of the run whose folder it takes over.
cp "$dir/twice.h5s/start.h5" "$dir/before.h5"
# shellcheck disable=SC2086
refuses "loss or the gradient of step [0-9]* is not finite: try a smaller --lr" recall $small --lr 1000 --weight-decay 1000 --steps 40 \
    --batch 4 --len 16 --pairs 2 --out "$dir/twice.h5s"
[ -e "$dir/twice.h5s/model.h5" ] && fail "not finite: the model of another run is beside its start"
cmp -s "$dir/twice.h5s/start.h5" "$dir/before.h5"
[ $? = 1 ] || fail "not finite: it has left no start of its own"
mkdir "$dir/wall" "$dir/wall/model.h5"
# shellcheck disable=SC2086
refuses "wall/model.h5: Is a directory" recall $small --steps 1 --batch 4 --len 16 --pairs 2 --out "$dir/wall"
[ -e "$dir/wall/start.h5" ] && fail "a start beside what is in the way of its model"
echo >"$dir/plain"
# shellcheck disable=SC2086
refuses "Not a directory" recall $small --steps 1 --batch 4 --len 16 --pairs 2 --out "$dir/plain"

[ $failed = 0 ] && echo "the programs of the tasks keep their promises"
exit $failed
