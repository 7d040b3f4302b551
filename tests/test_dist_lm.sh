#!/bin/sh
# test_dist_lm.sh - train_lm on several ranks: the losses of one, resumes on other numbers of ranks,
# and how such a job ends: by a signal, by a rank that is killed, by one that meets damage.
set -u
. tests/support/ranks.sh
lm=$B/examples/train_lm
if [ "${PAL_TEST_ALL:-0}" = 1 ]; then most=4; else most=2; fi

i=0
while [ $i -lt 400 ]; do
    echo "$i bottles, $((i * i % 97)) labels, $((i % 7)) corks"
    i=$((i + 1))
done >"$dir/text"
model="--data $dir/text --mixers gdn2:num_heads=2:head_dim=8,mamba2:head_dim=8:state_size=8 --layers 2 --width 32
--batch 5 --len 19 --dtype f64 --sample 0 --save-every 4 --keep 0"

one() { # OUT flags...
    out=$1
    shift
    "$lm" --out "$dir/$out" "$@" >"$dir/$out.txt" 2>&1 || fail "$out: $(cat "$dir/$out.txt")"
}
several() { # N OUT flags...
    n=$1
    out=$2
    shift 2
    holds "$n" "$lm" --out "$dir/$out" "$@"
    cp "$dir/out" "$dir/$out.txt"
}
# Rows of log.csv agree in columns 2 (loss) and, where both have one, 7 (held out).
same() { # A B tolerance
    [ "$(wc -l <"$dir/$1/log.csv")" = "$(wc -l <"$dir/$2/log.csv")" ] || fail "$1 and $2 are of other lengths"
    paste -d, "$dir/$1/log.csv" "$dir/$2/log.csv" | awk -F, -v t="$3" '
        function differ(a, b) { d = a - b; return !(d <= t * a && -d <= t * a) }
        NR > 1 && (differ($2, $9) || differ($7, $14) || $6 != $13) { print; bad = 1 }
        NR > 1 { rows++ }
        END { exit bad || rows < 1 }' || fail "$1 and $2 differ by more than $3"
}

# ---- The losses of one process, and resumes ----
more="--held-out 0.1 --eval-every 4 --average 0.9 --accumulate 2"
# shellcheck disable=SC2086 # the flags are to be split
one whole $model $more --steps 12
# shellcheck disable=SC2086
several $most ranks $model $more --steps 12
same whole ranks 1e-9
grep -q "^ranks   $most: rows in $most parts, sequences in 1" "$dir/ranks.txt" || fail "no word of ranks: $(cat "$dir/ranks.txt")"
[ "$(grep -c "^step .*12/12" "$dir/ranks.txt")" = 1 ] || fail "more than one rank prints"
# shellcheck disable=SC2086
several $most moved $model $more --steps 4
if [ $most = 4 ]; then several 2 moved --resume --steps 8; fi
one moved --resume --steps 12
same whole moved 1e-9
if [ "${PAL_TEST_ALL:-0}" = 1 ]; then # to several ranks and back once more
    several $most moved --resume --steps 14
    one whole --resume --steps 14
    same whole moved 1e-9
fi

# ---- Sequences over ranks ----
if [ "${PAL_TEST_ALL:-0}" = 1 ]; then all="false true"; else all=true; fi
for packed in $all; do
    # shellcheck disable=SC2086
    one p$packed $model --steps 5 --packed=$packed --held-out 0.1 --eval-every 2
    # shellcheck disable=SC2086
    several $most s$packed $model --steps 5 --packed=$packed --held-out 0.1 --eval-every 2 --sequence-parallel 2
    same p$packed s$packed 1e-9
done
# A hybrid with Mamba-3, whose state has several parts; all ranks share each sequence.
hybrid="--data $dir/text --mixers mamba3:head_dim=8:state_size=8:n_groups=2,attn:num_heads=2,mamba3:head_dim=8:state_size=8:is_mimo=true
--layers 3 --width 32 --batch 2 --len 23 --dtype f64 --sample 0 --packed=true --steps 4"
# shellcheck disable=SC2086
one hybrid $hybrid
# shellcheck disable=SC2086
several $most shared $hybrid --sequence-parallel $most
same hybrid shared 1e-9

# ---- Ends ----
children() { # of process $1
    for status in /proc/[0-9]*/status; do
        if grep -q "^PPid:[[:space:]]*$1\$" "$status" 2>/dev/null; then basename "$(dirname "$status")"; fi
    done
}
# In the background until the log has some rows.
begin() { # OUT flags...
    out=$1
    shift
    checks=$((checks + 1))
    # shellcheck disable=SC2086
    mpirun --timeout 800 $launch -n 2 "$lm" --out "$dir/$out" "$@" >"$dir/$out.txt" 2>&1 &
    pid=$!
    while ! grep -q '^9,' "$dir/$out/log.csv" 2>/dev/null && kill -0 $pid 2>/dev/null; do sleep 0.02; done
}
# shellcheck disable=SC2086
begin usr $model --steps 100000
kill -USR1 $pid
wait $pid || fail "SIGUSR1: status $?: $(cat "$dir/usr.txt")"
[ "$(grep -c "stopped at step [0-9]* by .*; the run is saved" "$dir/usr.txt")" = 1 ] || fail "SIGUSR1: $(cat "$dir/usr.txt")"
step=$(($(wc -l <"$dir/usr/log.csv") - 1))
[ -s "$(printf '%s/usr/step-%08d.h5' "$dir" $step)" ] || fail "SIGUSR1: step $step was not saved"
several 2 usr --resume --steps $((step + 3))
[ "$(wc -l <"$dir/usr/log.csv")" = $((step + 4)) ] || fail "the log is not that of $((step + 3)) steps"

if [ "${PAL_TEST_ALL:-0}" = 1 ]; then all="head tail"; else all=tail; fi # rank 0 or the last
for which in $all; do
    # shellcheck disable=SC2086
    begin kill$which $model --steps 100000
    kill -KILL "$(children $pid | sort -n | $which -n 1)"
    start=$(date +%s)
    if wait $pid; then fail "a rank that is killed: status 0"; fi
    [ $(($(date +%s) - start)) -lt 300 ] || fail "the job did not end when a rank was killed"
    step=$(find "$dir/kill$which" -name 'step-*.h5' | sort | tail -n 1)
    step=$(basename "$step" .h5 | sed 's/step-0*//')
    one kill$which --resume --steps $((step + 2))
done

# A store with damage, which one rank or the other meets; no second word of it.
yes "all the same, line after line, and no end of it" | head -c 3000000 >"$dir/long"
one store --data "$dir/long" --steps 1 --layers 1 --width 16 --sample 0
for at in 2500000 2500100 2500200; do
    printf 'XYZ' | dd of="$dir/store/data.h5" bs=1 seek=$at conv=notrunc 2>/dev/null
done
if ranks 2 "$lm" --out "$dir/damage" --data "$dir/store/data.h5" --steps 10000 --layers 1 --width 16 --sample 0; then
    fail "damage of the data: status 0"
fi
[ "$(grep -c "data.h5.*damaged\|data.h5.*checksum" "$dir/out")" = 1 ] || fail "damage of the data: $(cat "$dir/out")"
# What all refuse is told once.
if ranks 2 "$lm" --out "$dir/nothing" --resume; then fail "--resume of nothing"; fi
[ "$(grep -c "no checkpoint to continue" "$dir/out")" = 1 ] || fail "not told once: $(cat "$dir/out")"
# shellcheck disable=SC2086
if ranks 2 "$lm" --out "$dir/nothing" $model --batch 1; then fail "one row for two ranks"; fi
grep -q "1 rows for 2 processes" "$dir/out" || fail "$(cat "$dir/out")"
report
