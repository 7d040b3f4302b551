#!/bin/sh
# test_streams.sh - the standard streams and the files of a command line. A stdout that cannot be written is status 1
# and a sentence in every program; stdin is descriptor 0; no output is an input; errors name the right flag.
B=${B:-build}
case $B in /*) x=$B ;; *) x=$PWD/$B ;; esac
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failed=0
fail() {
    echo "FAIL: $*"
    failed=1
}
study=$PWD/examples/ablate/studies/parity.study
cd "$dir" || exit 1
export OMP_NUM_THREADS=1
seq -f 'line %g of a small text' 200 >text.txt
lm="$x/examples/train_lm --layers 1 --width 16 --len 16 --batch 2 --sample 0 --steps 2"
$lm --data text.txt --out run >/dev/null || exit 1
model=run/step-00000002.h5

# ---- Standard output ----
lost() { # command...: stdout on a full disk, and closed
    "$@" >/dev/full 2>err && fail "$*: status 0 on a full disk"
    grep -q 'standard output cannot be written' err || fail "$*: no sentence: $(cat err)"
    "$@" >&- 2>err && fail "$*: status 0 with stdout closed"
    grep -q 'standard output cannot be written' err || fail "$*: no sentence with stdout closed: $(cat err)"
}
if [ "${PAL_TEST_ALL:-0}" = 1 ]; then all="train_lm generate tokenize inspect ablate recall needle state synthetic"; else all="tokenize inspect recall"; fi
for program in $all; do
    lost "$x/examples/$program" --help
done
for program in 00_tensor 01_grad 03_delta_rule 04_custom_op; do lost "$x/examples/$program"; done
if [ "${PAL_TEST_ALL:-0}" = 1 ]; then all="dist neighbour optim rules step bench_ops"; else all="rules bench_ops"; fi
for program in $all; do
    [ ! -x "$x/bench/$program" ] || lost "$x/bench/$program" --help
done
lost "$x/examples/train_lm" --print-config
lost "$x/examples/generate" $model abc --tokens 3
lost "$x/examples/generate" $model --score abcdef
lost "$x/examples/tokenize" --out store.h5 text.txt
lost "$x/examples/inspect" --demo
lost "$x/examples/recall" --show 1
lost "$x/examples/ablate" "$study" --list --out study
# A reader that has gone: SIGPIPE where it is not ignored, and the sentence where it is.
(trap '' PIPE && { "$x/examples/generate" $model abc --tokens 3 2>err; echo $? >status; }) | true
case $(cat status) in
0) ;; # all was in the pipe before its reader ended
*) grep -q 'standard output cannot be written' err || fail "a closed pipe: $(cat status), $(cat err)" ;;
esac
# Nothing is opened as descriptor 0, 1 or 2 in place of a stream; a stderr that is lost changes nothing.
for streams in '<&-' '>&-' '2>&-' '<&- >&- 2>&-'; do
    # All three at once are the hardest of them; one alone has a status of its own.
    case ${PAL_TEST_ALL:-0},$streams in 1,* | *,'2>&-' | *'>&- '*) ;; *) continue ;; esac
    rm -rf closed
    eval "$lm --data text.txt --out closed $streams" >out 2>err
    status=$?
    case $streams in *'>&- '* | '>&-') wanted=1 ;; *) wanted=0 ;; esac
    [ $status = $wanted ] || fail "train_lm $streams: status $status, $(cat err)"
    cmp -s closed/step-00000002.h5 $model && cmp -s closed/data.h5 run/data.h5 || fail "train_lm $streams: another run"
    eval "\"$x/examples/generate\" closed/step-00000002.h5 abc --tokens 1 >/dev/null 2>err" || fail "after $streams: $(cat err)"
done
"$x/examples/generate" $model abc --tokens 3 2>/dev/full >out || fail "a stderr that cannot be written"
# Files may not grow at all: texts that are made in memory, and standard output.
for command in "train_lm --print-config" "ablate $study --list --out study"; do
    said=$(ulimit -f 0 && "$x/examples/"$command 2>&1 >/dev/null)
    [ $? = 1 ] || fail "$command, no file may grow: not status 1: $said"
    case $said in *'in memory: File too large') ;; *) fail "$command, no file may grow: $said" ;; esac
done
said=$(ulimit -f 0 && "$x/examples/train_lm" --help 2>&1 >out)
case $?,$said in 1,*'standard output cannot be written: File too large') ;; *) fail "--help to a file that may not grow: $said" ;; esac
# Too small a stack is told, and no file is blamed for it.
for command in "check $model" "generate $model abc" "recall --show 1" "tokenize --out small.h5 text.txt"; do
    said=$(ulimit -s 1024 && "$x/examples/"$command 2>&1)
    [ $? = 1 ] || fail "$command, little stack: not status 1: $said"
    case $said in *'the stack has 1024 KiB (ulimit -s), and 2048 are needed') ;; *) fail "$command, little stack: $said" ;; esac
done
(ulimit -s 2048 && "$x/examples/generate" $model abc --tokens 3) >out 2>err || fail "a stack of 2 MiB: $(cat err)"

# ---- Standard input ----
text=$("$x/examples/generate" $model --score <text.txt) || fail "--score"
[ "$(cat text.txt | "$x/examples/generate" $model --score)" = "$text" ] || fail "a pipe is read otherwise"
"$x/examples/generate" $model --score <&- >out 2>err && fail "a closed stdin is read"
grep -q 'standard input: ' err || fail "a closed stdin: $(cat err)"
"$x/examples/generate" $model --score <. >out 2>err && fail "a folder is read"
grep -q 'standard input: Is a directory' err || fail "a folder as stdin: $(cat err)"
"$x/examples/tokenize" --out by-name.h5 text.txt >/dev/null || fail "tokenize"
if [ "${PAL_TEST_ALL:-0}" = 1 ]; then all="- /dev/stdin /dev/fd/0 /proc/self/fd/0"; else all="- /dev/stdin"; fi
for name in $all; do
    "$x/examples/tokenize" --out by-stdin.h5 $name <text.txt >/dev/null 2>err || fail "$name: $(cat err)"
    cmp -s by-name.h5 by-stdin.h5 || fail "tokenize $name: another store"
done
rm -rf closed
$lm --data - --out closed <text.txt >out 2>err && cmp -s closed/data.h5 run/data.h5 || fail "train_lm --data -: $(cat err)"
"$x/examples/inspect" --mixers gdn2 --data - <text.txt >out 2>err && fail "inspect reads stdin twice"
if command -v python3 >/dev/null; then
    cat >peer.py <<'P'
import socket, subprocess, sys
a, b = socket.socketpair()
a.sendall(open("text.txt", "rb").read())
a.shutdown(socket.SHUT_WR)
sys.exit(subprocess.run(sys.argv[1:], stdin=b).returncode)
P
    [ "$(python3 peer.py "$x/examples/generate" $model --score)" = "$text" ] || fail "a socket as stdin"
fi
# What has no end is not read to its end.
for command in "train_lm --config /dev/zero" "ablate /dev/zero --list" "inspect --script /dev/zero"; do
    said=$("$x/examples/"$command 2>&1 >/dev/null)
    [ $? = 1 ] || fail "$command: not status 1: $said"
    case $said in *'/dev/zero: it has more than 1048576 bytes, the most'*) ;; *) fail "$command: $said" ;; esac
done

# ---- No output is an input ----
refused() { # FILE command...: the file stays as it is, and nothing is printed
    file=$1
    shift
    cp -p "$file" before
    "$@" >out 2>err </dev/null && fail "$*: status 0"
    grep -q 'would overwrite the file of\|and a file is wanted' err || fail "$*: $(cat err)"
    cmp -s before "$file" || fail "$*: $file was changed"
    [ ! -s out ] || fail "$*: it printed before it refused"
}
ln $model hard.h5 && ln -s $model soft.h5
# The other spellings, and the programs that share their frame with one that is tried, with PAL_TEST_ALL=1.
if [ "${PAL_TEST_ALL:-0}" = 1 ]; then all="$model ./$model run/../$model hard.h5 soft.h5"; else all="run/../$model hard.h5 soft.h5"; fi
for same in $all; do
    refused $model "$x/examples/generate" $model abc --save-state $same
done
"$x/examples/generate" $model abc --tokens 1 --save-state s.h5 >/dev/null 2>&1 || fail "--save-state"
refused s.h5 "$x/examples/generate" $model --load-state s.h5 --save-state s.h5
ln text.txt hard.txt
refused text.txt "$x/examples/tokenize" --out hard.txt text.txt
refused text.txt "$x/examples/tokenize" --train-vocab 300 --out a.h5 --save-tokenizer ./text.txt text.txt
refused text.txt "$x/examples/tokenize" --train-vocab 300 --out new.h5 --save-tokenizer ./new.h5 text.txt
[ ! -e new.h5 ] || fail "two outputs were one file"
mkfifo pipe
refused text.txt "$x/examples/tokenize" --out pipe text.txt
[ -p pipe ] || fail "a pipe was replaced"
mkdir in
cp text.txt in/samples.txt && cp $model in/log.csv && "$x/examples/train_lm" --print-config >in/config.txt
refused in/samples.txt $lm --data in/samples.txt --out in
refused in/log.csv $lm --data text.txt --init in/log.csv --out ./in
refused in/config.txt $lm --config in/config.txt --data text.txt --out in
[ ! -e in/data.h5 ] || fail "a run was begun"
cp $model in/layers.csv && cp $model in/gates.csv
refused in/layers.csv "$x/examples/ablate" --layers in/layers.csv --out in
refused in/gates.csv "$x/examples/inspect" in/gates.csv --text abc --out in
mkdir in/runs && cp "$study" parity.study && ln parity.study in/results.csv
refused parity.study "$x/examples/ablate" parity.study --out in
grep -q -e '--out: results.csv would overwrite the file of STUDY, parity.study' err || fail "no file is named: $(cat err)"
"$x/examples/ablate" parity.study --list --out ab >/dev/null || fail "--list"
mkdir -p ab && "$x/examples/ablate" parity.study --list --out ab >ab/notes.md 2>err || fail "a file of another name in --out: $(cat err)"
"$x/examples/ablate" parity.study --list --out ab >ab/table.md 2>err && fail "stdout is table.md"
grep -q -e '--out: table.md would overwrite the file of standard output;' err || fail "stdout is table.md: $(cat err)"
cat text.txt >appended.txt
"$x/examples/generate" $model --score <appended.txt >>appended.txt 2>err && fail "stdout is stdin's file"
cmp -s text.txt appended.txt || fail "stdin's file was appended to"

# ---- The right flag, and what differs ----
says() { # PATTERN command...
    pattern=$1
    shift
    "$@" >out 2>err && fail "$*: status 0"
    grep -q -e "$pattern" err || fail "$*: $(cat err)"
}
says '--out: .*cannot be made' $lm --data text.txt --out text.txt/run
says '--out: .*cannot be made' $lm --data text.txt --out /proc/none
says '--data: none.txt: ' $lm --data none.txt --out other
says '--data: .* too short' $lm --data /dev/null --out other
sed -i 's/$/\r/' run/log.csv
says 'columns are .*held_out\\r\\n, and this run writes .*held_out\\n$' $lm --resume --out run --steps 3
exit $failed
