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
for where in "mkdir 1" "rename 6" "unlink 2" "fsync 19" "truncate 1" "write 29"; do
    kind=${where% *}
    for i in $(some "$kind" "$([ "${PAL_TEST_ALL:-0}" = 1 ] && echo 3 || echo "${where#* }")"); do
        begin "$kind:$i:kill"
        [ $? = 137 ] || fail "$kind $i: not killed: $(cat "$dir/said")"
        kills=$((kills + 1))
        go_on none || fail "$kind $i: --resume: $(cat "$dir/said")"
        equal "killed at $kind $i"
    done
done
[ "$kills" -gt 7 ] || fail "only $kills kills"

# ---- Killed, and then twice while it goes on ----
for i in $([ "${PAL_TEST_ALL:-0}" = 1 ] && seq 1 9 || echo 5); do
    begin "rename:7:kill"
    go_on "rename:$i:kill" && fail "the second kill at rename $i: it ended by itself"
    go_on "fsync:$(((i + 1) / 2)):kill" && fail "the third kill, at fsync: it ended by itself"
    kills=$((kills + 2))
    go_on none || fail "after three kills: $(cat "$dir/said")"
    equal "killed three times, at $i"
done

# ---- Calls that fail: EIO is 5, ENOSPC is 28 ----
for where in "mkdir 1" "rename 11" "unlink 3" "fsync 29" "write 43"; do
    kind=${where% *}
    for i in $(some "$kind" "$([ "${PAL_TEST_ALL:-0}" = 1 ] && echo 3 || echo "${where#* }")"); do
        for errno in $([ "${PAL_TEST_ALL:-0}" = 1 ] && echo 5 28 || echo 28); do
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

# ---- Other programs, which are started again ----
again() { # command...: killed at each call, and then not
    for kind in $([ "${PAL_TEST_ALL:-0}" = 1 ] && echo write fsync rename || echo rename); do
        for i in $([ "${PAL_TEST_ALL:-0}" = 1 ] && echo 1 2 || echo 1); do
            rm -rf "$dir/cut"
            mkdir "$dir/cut"
            try "$kind:$i:kill" "$@" && [ $i = 1 ] && fail "$1: not killed at $kind $i"
            kills=$((kills + 1))
            try none "$@" || fail "$1 after $kind $i: $(cat "$dir/said")"
            if [ ! -d "$dir/one" ]; then cp -r "$dir/cut" "$dir/one"; fi
            diff -r "$dir/one" "$dir/cut" >"$dir/diff" || fail "$1 after $kind $i: $(cat "$dir/diff")"
        done
    done
    [ -z "$(find "$dir/one" -name '*.tmp*')" ] || fail "$1: temporary files are left"
    rm -rf "$dir/one"
}
again "$B/examples/tokenize" --out "$dir/cut/store.h5" "$dir/text"
again "$B/examples/generate" "$dir/whole/step-00000006.h5" 12 --tokens 3 --save-state "$dir/cut/state.h5"
again "$B/examples/recall" --mixers gdn:num_heads=1:head_dim=8 --no-mlp --width 16 --layers 1 --vocab 16 --pairs 2 --len 12 \
    --steps 2 --batch 2 --rows 4 --out "$dir/cut"
# A writer that lives keeps its file.
rm -rf "$dir/cut"
mkdir "$dir/cut"
echo begun >"$dir/cut/store.h5.tmp-1-0"
echo other >"$dir/cut/store.h5.tmp-mine"
exec 5>>"$dir/cut/store.h5.tmp-1-0"
flock -x 5
"$B/examples/tokenize" --out "$dir/cut/store.h5" "$dir/text" >"$dir/said" 2>&1 || fail "$(cat "$dir/said")"
[ -e "$dir/cut/store.h5.tmp-1-0" ] || fail "the file of another writer was removed"
exec 5>&-
"$B/examples/tokenize" --out "$dir/cut/store.h5" "$dir/text" >"$dir/said" 2>&1 || fail "$(cat "$dir/said")"
[ ! -e "$dir/cut/store.h5.tmp-1-0" ] && [ -e "$dir/cut/store.h5.tmp-mine" ] || fail "not only dead files were removed: $(ls "$dir/cut")"

# A study: runs that were killed are made again, and those that have results are not.
if [ "${PAL_TEST_ALL:-0}" = 1 ]; then
    study() { try "$1" "$B/examples/ablate" examples/ablate/studies/parity.study --smoke --jobs 2 --out "$dir/cut"; }
    rm -rf "$dir/cut"
    study none || fail "a study: $(cat "$dir/said")"
    (cd "$dir/cut" && find . -type f | sort) >"$dir/list"
    for fault in rename:1:kill rename:4:kill fsync:3:kill write:2:kill; do
        rm -rf "$dir/cut"
        study $fault && fail "a study is not killed at $fault"
        study none || fail "a study after $fault: $(cat "$dir/said")"
        (cd "$dir/cut" && find . -type f | sort) | diff "$dir/list" - >"$dir/diff" || fail "a study after $fault: $(cat "$dir/diff")"
    done
fi

[ $failed = 0 ] && echo "a run that was killed $kills times is the run that was not"
exit $failed
