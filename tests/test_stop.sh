#!/bin/sh
# test_stop.sh - how a run ends before its last step: by a signal, by time, by a full disk, and by a
# checkpoint that is damaged. In each case it can be continued.
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
while [ $i -lt 200 ]; do
    echo "$i bottles, $((i * i % 97)) labels, $((i % 7)) corks"
    i=$((i + 1))
done >"$dir/text"
small="--data $dir/text --mixers gdn:num_heads=2:head_dim=8 --layers 1 --width 32 --batch 2 --len 16 --sample 0"
lm() { # OUT flags...
    out=$1
    shift
    "$B/examples/train_lm" --out "$dir/$out" "$@" >"$dir/$out.txt" 2>&1
}
last() { find "$dir/$1" -name 'step-*.h5' | sort | tail -n 1; }

# ---- Signals ----
# In the background until the log has some rows; then $1 is sent.
begin() { # OUT flags...
    out=$1
    shift
    "$B/examples/train_lm" --out "$dir/$out" "$@" >"$dir/$out.txt" 2>&1 &
    pid=$!
    while ! grep -q '^3,' "$dir/$out/log.csv" 2>/dev/null && kill -0 $pid 2>/dev/null; do sleep 0.01; done
}
# shellcheck disable=SC2086 # the flags are to be split
lm whole $small --steps 3000 --train-seconds 1e-9 || fail "$(cat "$dir/whole.txt")"
grep -q 'stopped at step 1 by the limit of time; the run is saved' "$dir/whole.txt" || fail "no word of time: $(cat "$dir/whole.txt")"
for signal in INT TERM USR1; do
    # shellcheck disable=SC2086
    begin $signal $small --steps 100000
    kill -$signal $pid
    wait $pid
    status=$?
    [ $status = 0 ] || fail "SIG$signal: status $status: $(cat "$dir/$signal.txt")"
    grep -q "stopped at step [0-9]* by .*; the run is saved" "$dir/$signal.txt" || fail "SIG$signal: $(cat "$dir/$signal.txt")"
    grep -q -e "--resume --out $dir/$signal" "$dir/$signal.txt" || fail "SIG$signal: no word on how to go on"
    step=$(($(wc -l <"$dir/$signal/log.csv") - 1))
    [ "$(last $signal)" = "$(printf '%s/step-%08d.h5' "$dir/$signal" $step)" ] || fail "SIG$signal: step $step was not saved"
    lm $signal --resume --steps $((step + 2)) || fail "SIG$signal: it does not go on: $(cat "$dir/$signal.txt")"
    [ "$(wc -l <"$dir/$signal/log.csv")" = $((step + 3)) ] || fail "SIG$signal: the log is not that of $((step + 2)) steps"
done
# Steps long enough for a second signal to find the first one's.
# shellcheck disable=SC2086
"$B/examples/train_lm" --out "$dir/long" $small --steps 9 --width 192 --layers 4 --batch 16 --len 512 >"$dir/long.txt" 2>&1 &
pid=$!
while ! grep -q 'machine' "$dir/long.txt" 2>/dev/null && kill -0 $pid 2>/dev/null; do sleep 0.01; done
sleep 0.2
while kill -INT $pid 2>/dev/null; do sleep 0.01; done # two that come at once are one
wait $pid
status=$?
[ $status = 130 ] || fail "a second SIGINT does not end it at once: status $status: $(cat "$dir/long.txt")"

# ---- A full disk ----
# shellcheck disable=SC2086
lm limit $small --steps 20 --save-every 4 --train-seconds 1e-9 || fail "$(cat "$dir/limit.txt")"
cp "$(last limit)" "$dir/before"
limited() { (ulimit -f 100 && lm "$@"); } # blocks of 512 or 1024 bytes: less than a checkpoint
limited limit --resume
status=$?
[ $status = 1 ] || fail "a full disk: status $status: $(cat "$dir/limit.txt")"
grep -q 'step 4 is not saved: .*File too large; the last checkpoint is that of step 1' "$dir/limit.txt" ||
    fail "a full disk: $(cat "$dir/limit.txt")"
limited limit --resume --on-save-error go-on
status=$?
[ $status = 1 ] || fail "a full disk, going on: status $status: $(cat "$dir/limit.txt")"
[ "$(grep -c 'warning: .*File too large' "$dir/limit.txt")" = 5 ] && grep -q 'step *20/20' "$dir/limit.txt" ||
    fail "a full disk, going on: $(cat "$dir/limit.txt")"
cmp -s "$dir/before" "$(last limit)" || fail "a full disk: the old checkpoint is not what it was"
[ "$(find "$dir/limit" -name '*.tmp*')" = "" ] || fail "a full disk: temporary files are left"
lm limit --resume || fail "it does not go on when there is room: $(cat "$dir/limit.txt")"
# shellcheck disable=SC2086
lm room $small --steps 20 --save-every 4 || fail "$(cat "$dir/room.txt")"
cmp -s "$(last room)" "$(last limit)" || fail "a run that met a full disk is another run"

# ---- A damaged checkpoint ----
newest=$(last limit)
head -c 5000 "$newest" >"$dir/cut" && mv "$dir/cut" "$newest"
if lm limit --resume --steps 24; then fail "a checkpoint that was cut short is read"; fi
grep -q -e 'step-00000020.h5' "$dir/limit.txt" && grep -q -e '--resume-from 16' "$dir/limit.txt" ||
    fail "a damaged checkpoint: $(cat "$dir/limit.txt")"
[ "$(last limit)" = "$newest" ] || fail "a failed resume has changed the folder"
if lm limit --resume-from 17; then fail "a checkpoint that is not there was used"; fi
lm limit --resume-from 16 || fail "the checkpoint before the damaged one: $(cat "$dir/limit.txt")"
cmp -s "$(last room)" "$(last limit)" || fail "a run from an older checkpoint is another run"
[ -f "$newest.aside" ] || fail "the damaged checkpoint was not kept aside"

# ---- A reader of stdout that goes away ----
# shellcheck disable=SC2086
"$B/examples/train_lm" --out "$dir/pipe" $small --steps 40 2>"$dir/pipe.txt" | head -n 1 >/dev/null
[ -f "$dir/pipe/step-00000040.h5" ] || fail "a closed pipe ended the run: $(cat "$dir/pipe.txt")"

# ---- Two at once ----
# shellcheck disable=SC2086
begin one $small --steps 100000 --save-every 2
if lm one --resume; then fail "two processes train in one folder"; fi
grep -q 'another process trains' "$dir/one.txt" || fail "no word of the other process: $(cat "$dir/one.txt")"
kill -TERM $pid
wait $pid
# A run of its own on another text is refused before it writes its store there.
tail -n 100 "$dir/text" >"$dir/other"
# shellcheck disable=SC2086
begin two $small --steps 100000 --save-every 100000
cp "$dir/two/data.h5" "$dir/data"
# shellcheck disable=SC2086
if lm two2 $small --data "$dir/other" --out "$dir/two" --steps 3; then fail "two new runs in one folder"; fi
cmp -s "$dir/data" "$dir/two/data.h5" || fail "the data of a run were replaced by a second one"
kill -TERM $pid
wait $pid

[ $failed = 0 ] && echo "a run that is stopped can be continued"
exit $failed
