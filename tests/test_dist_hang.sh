#!/bin/sh
# test_dist_hang.sh - a rank that is stopped is named, and the run goes on when it does, with the same
# results. Rank 0 names the others, and rank 1 names rank 0.
set -u
. tests/support/ranks.sh
i=0
while [ $i -lt 200 ]; do
    echo "$i bottles, $((i * i % 97)) labels, $((i % 7)) corks"
    i=$((i + 1))
done >"$dir/text"
train="$B/examples/train_lm --data $dir/text --mixers gdn:num_heads=1:head_dim=8 --layers 1 --width 16 --mlp-width 16
    --batch 6 --len 16 --save-every 1000 --sample 0 --steps"
# The process of rank $1 of the run in $dir/$2; each rank tells its number in its environment.
process_of() {
    for p in /proc/[0-9]*; do
        [ "$(cat "$p/comm" 2>/dev/null)" = train_lm ] || continue
        tr '\0' ' ' 2>/dev/null <"$p/cmdline" | grep -q -e "--out $dir/$2 " || continue
        tr '\0' '\n' 2>/dev/null <"$p/environ" | grep -qx "OMPI_COMM_WORLD_RANK=$1" && echo "${p#/proc/}" && return
    done
}
rows() { if [ -f "$dir/$1/log.csv" ]; then wc -l <"$dir/$1/log.csv"; else echo 0; fi; }
wait_for() { # seconds condition...
    tries=$(($1 * 10))
    shift
    while [ $tries -gt 0 ] && ! "$@"; do
        sleep 0.1
        tries=$((tries - 1))
    done
    "$@"
}
begun() { [ "$(rows "$1")" -gt 3 ]; }
says() { grep -q "$1" "$dir/out"; }
further() { [ "$(rows "$1")" -gt $((before + 2)) ]; }
says_again() { [ "$(grep -c "$1" "$dir/out")" -gt 1 ]; }

checks=0
hang() { # NAME ranks rank sentence flags...
    name=$1
    stopped=$3
    sentence=$4
    n=$2
    shift 4
    checks=$((checks + 1))
    # shellcheck disable=SC2086 # the flags are to be split
    PAL_PATIENCE=1 timeout "${limit:-360}" mpirun $launch -n "$n" $train 1000000 --out "$dir/$name" "$@" >"$dir/out" 2>&1 &
    job=$!
    wait_for 120 begun "$name" || fail "$name: it does not begin: $(cat "$dir/out")"
    process=$(process_of "$stopped" "$name")
    kill -STOP "$process" || fail "$name: rank $stopped cannot be stopped"
    wait_for 60 says "$sentence for [1-9][.0-9]* s, in step [0-9]*" || fail "$name: nobody misses rank $stopped: $(cat "$dir/out")"
    wait_for 60 says_again "$sentence for [1-9][.0-9]* s" || fail "$name: it is said only once: $(cat "$dir/out")"
    kill -CONT "$process"
    wait_for 60 says "rank [01]: after [0-9.]* s it goes on" || fail "$name: its return is not told: $(cat "$dir/out")"
    # What it computes from then on is compared, however few steps it comes to.
    before=$(rows "$name")
    wait_for 120 further "$name" || fail "$name: it makes no steps after it went on: $(cat "$dir/out")"
    kill -USR1 "$(process_of 0 "$name")" # a rank that is asked to stop ends all, with a checkpoint
    wait $job || fail "$name: status $?: $(cat "$dir/out")"
}
hang three 3 2 "rank 0: waiting for rank 2"
# shellcheck disable=SC2086
holds 3 $train 50 --out "$dir/whole"
grep -q "waiting for" "$dir/out" && fail "ranks that do not hang are missed: $(cat "$dir/out")"
# The run ends soon after the pause, which on a busy machine is before step 50: so many rows are compared as it has.
head -n 51 "$dir/three/log.csv" >"$dir/rows"
head -n "$(wc -l <"$dir/rows")" "$dir/whole/log.csv" | cmp - "$dir/rows" || fail "a rank that was stopped changes results"
hang zero 2 0 "rank 1: waiting for rank 0"
if [ "${PAL_TEST_ALL:-0}" = 1 ]; then
    hang shard 3 1 "rank 0: waiting for rank 1" --shard
    hang parts 2 1 "rank 0: waiting for rank 1" --sequence-parallel 2
fi
# Who is named while other ranks wait too: in the step in which it has waited itself, and in other calls. Beside other
# work ranks may come late, and are named rightly; then all is tried again with more time.
named() { # HOW ranks parts sentence
    for patience in 1 4 12; do
        PAL_PATIENCE=$patience holds "$2" "$B/tests/dist_ranks" "$3" hang "$1" $patience
        if grep -q "^rank 0: $4" "$dir/out" && ! grep "waiting for" "$dir/out" | grep -qv "^rank 0: $4"; then return; fi
    done
    fail "$1: no '$4', or others are named: $(cat "$dir/out")"
}
named backward 3 1 "waiting for rank 2 for [.0-9]* s, in a call of all ranks"
named parts 4 2 "waiting for rank 2 for [.0-9]* s, in a call of all ranks"
[ "${PAL_TEST_ALL:-0}" = 1 ] && named all 3 1 "waiting for [.0-9]* s, in a call of all ranks; all other ranks say that they wait"
if PAL_PATIENCE=soon ranks 2 "$B/tests/dist_ranks"; then fail "PAL_PATIENCE=soon was accepted"; fi
grep -q "PAL_PATIENCE is 'soon'" "$dir/out" || fail "no word of PAL_PATIENCE: $(cat "$dir/out")"
report
