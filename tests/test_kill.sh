#!/bin/sh
# test_kill.sh - a run that is killed at any call on a file of its folder, and continued, leaves the
# folder of a run that was not killed. A call that fails ends it with a sentence, and it goes on too.
set -u
. tests/support/kill.sh
text 120 >"$dir/text"
# The folder is not part of what a run is, so two folders can be equal.
flags="--data $dir/text --mixers gdn:num_heads=1:head_dim=8 --layers 1 --width 16 --mlp-width 16 --batch 2 --len 16
    --steps 6 --save-every 2 --held-out 0.2 --eval-every 3 --sample-every 2 --sample 8 --keep 1"
lm=$B/examples/train_lm
begin() { # fault
    rm -rf "$dir/cut"
    # shellcheck disable=SC2086 # the flags are to be split
    try "$1" "$lm" $flags --out "$dir/cut"
}
# shellcheck disable=SC2086
go_on() { # fault: --resume, or the first command if no checkpoint was reached
    try "$1" "$lm" --resume --out "$dir/cut" && return 0
    status=$?
    grep -q "holds no checkpoint" "$dir/said" || return $status
    try "$1" "$lm" $flags --out "$dir/cut"
}
# shellcheck disable=SC2086
"$lm" $flags --out "$dir/whole" >"$dir/said" 2>&1 || fail "$(cat "$dir/said")"
rm -rf "$dir/cut"
# shellcheck disable=SC2086
count "$lm" $flags --out "$dir/cut"
equal "a run with the library"

# ---- Killed, once ----
for where in "mkdir 1" "rename 4" "unlink 1" "fsync 11" "truncate 1" "write 15"; do
    kind=${where% *}
    for i in $(some "$kind" "$([ "${PAL_TEST_ALL:-0}" = 1 ] && echo 3 || echo "${where#* }")"); do
        begin "$kind:$i:kill"
        [ $? = 137 ] || fail "$kind $i: not killed: $(cat "$dir/said")"
        kills=$((kills + 1))
        go_on none || fail "$kind $i: --resume: $(cat "$dir/said")"
        equal "killed at $kind $i"
    done
done
[ "$kills" -gt 8 ] || fail "only $kills kills"

# ---- Killed, and then twice while it goes on ----
for i in $([ "${PAL_TEST_ALL:-0}" = 1 ] && seq 1 9 || echo 5); do
    begin "rename:7:kill"
    go_on "rename:$i:kill" && fail "the second kill at rename $i: it ended by itself"
    go_on "fsync:$i:kill" && fail "the third kill at fsync $i: it ended by itself"
    kills=$((kills + 2))
    go_on none || fail "after three kills: $(cat "$dir/said")"
    equal "killed three times, at $i"
done

# ---- Calls that fail: EIO is 5, ENOSPC is 28 ----
for where in "mkdir 1" "rename 6" "unlink 1" "fsync 16" "write 25"; do
    kind=${where% *}
    for i in $(some "$kind" "$([ "${PAL_TEST_ALL:-0}" = 1 ] && echo 3 || echo "${where#* }")"); do
        for errno in 5 28; do
            begin "$kind:$i:$errno"
            [ $? = 1 ] || fail "$kind $i fails with $errno: not status 1: $(cat "$dir/said")"
            grep -q "^train_lm: .*\(Input/output error\|No space left\)" "$dir/said" ||
                fail "$kind $i fails with $errno: no sentence: $(cat "$dir/said")"
            [ -z "$(find "$dir/cut" -name '*.tmp*' 2>/dev/null)" ] || [ "$kind" = unlink ] ||
                fail "$kind $i fails with $errno: $(find "$dir/cut" -name '*.tmp*')"
            go_on none || fail "$kind $i failed with $errno: --resume: $(cat "$dir/said")"
            equal "$kind $i failed with $errno"
        done
    done
done

[ $failed = 0 ] && echo "a run that was killed $kills times is the run that was not"
exit $failed
