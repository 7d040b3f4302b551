#!/bin/sh
# test_folder.sh - a folder in which something is missing or was edited is told so, by the name of the
# file, before anything in it changes; and no advice of a run that is refused loses anything.
set -u
. tests/support/kill.sh
text 120 >"$dir/text"
flags="--data $dir/text --mixers gdn:num_heads=1:head_dim=8 --layers 1 --width 16 --mlp-width 16 --batch 2 --len 16
    --steps 4 --save-every 2 --held-out 0.2 --eval-every 2 --sample-every 2 --sample 8 --keep 3"
lm=$B/examples/train_lm
# shellcheck disable=SC2086 # the flags are to be split
"$lm" $flags --out "$dir/run" >"$dir/said" 2>&1 || fail "$(cat "$dir/said")"
# A run that was killed before its last checkpoint, so that --resume has steps to make.
rm "$dir/run/step-00000004.h5" "$dir"/run/*.svg
sed -i 's/^step-00000004.*/'"$(awk -F, 'NR == 3 { print "step-00000002.h5 " $7 }' "$dir/run/log.csv")/" "$dir/run/best.txt"
fresh() {
    rm -rf "$dir/cut"
    cp -r "$dir/run" "$dir/cut"
}
resume() { "$lm" --resume --out "$dir/cut" "$@" >"$dir/said" 2>&1; }
goes_on() { # what flags...
    what=$1
    shift
    resume "$@" || fail "$what: $(cat "$dir/said")"
    [ -s "$dir/cut/step-00000004.h5" ] || fail "$what: it made no step"
}
refused() { # what words flags...: status 1, the words, and nothing changed
    cp -r "$dir/cut" "$dir/before"
    if (shift 2 && resume "$@"); then fail "$1: it was accepted"; fi
    grep -q -e "$2" "$dir/said" || fail "$1: no word of '$2': $(cat "$dir/said")"
    grep -q "^train_lm: " "$dir/said" || fail "$1: not a sentence: $(cat "$dir/said")"
    diff -r "$dir/before" "$dir/cut" || fail "$1: the folder has changed"
    rm -rf "$dir/before"
}
seen=
mends() { # what words: refused, and --mend goes on with a warning
    file=${2#cut/}
    file=${file%%[: ]*}
    refused "$1" "$2"
    grep -q -e "(.*mend)" "$dir/said" || fail "$1: no word of --mend: $(cat "$dir/said")"
    # What --mend does is seen twice for each file.
    case $seen in *" $file "*" $file "*) [ "${PAL_TEST_ALL:-0}" = 1 ] || return ;; esac
    goes_on "$1, --mend" --mend
    # The folder is then as any other; that the next run finds nothing is seen once for each file.
    before=$seen
    seen="$seen $file "
    case $before in *" $file "*) [ "${PAL_TEST_ALL:-0}" = 1 ] || return ;; esac
    goes_on "$1, afterwards" --steps 5
}

fresh && goes_on "nothing is wrong"
grep -q "warning\|note" "$dir/said" && fail "nothing is wrong: $(cat "$dir/said")"

# ---- Logs and samples ----
fresh && sed -i '$d' "$dir/cut/log.csv" && sed -i '$d' "$dir/cut/log.csv" && sed -i '$d' "$dir/cut/log.csv"
mends "log.csv shortened" "cut/log.csv: up to step 2 it has .* bytes, and had"
fresh && sed -i '2s/,\([0-9]\)\./,\1.9/' "$dir/cut/log.csv"
mends "log.csv edited" "cut/log.csv: up to step 2 it has other text"
fresh && rm "$dir/cut/log.csv"
mends "no log.csv" "cut/log.csv: it is not there"
fresh && rm "$dir/cut/log.jsonl"
mends "no log.jsonl" "cut/log.jsonl: it is not there"
fresh && sed -i 1d "$dir/cut/log.jsonl"
mends "log.jsonl shortened" "cut/log.jsonl: up to step 2 it has 1 rows, and had 2"
fresh && sed -i '2s/"loss":[0-9]/"loss":77/' "$dir/cut/log.jsonl"
mends "log.jsonl edited" "cut/log.jsonl: its row after step 1 is not that of log.csv"
fresh && rm "$dir/cut/samples.txt"
mends "no samples" "cut/samples.txt: it is not there"
fresh && sed -i '1,2s/bottles/battles/' "$dir/cut/samples.txt"
mends "samples edited" "cut/samples.txt: up to step 2"
# What a user has added is not thrown away: before the checkpoint's end of the log, and after it.
if [ "${PAL_TEST_ALL:-0}" = 1 ]; then noted="log.csv log.jsonl samples.txt"; else noted=samples.txt; fi
for name in $noted; do
    fresh && sed -i '2s/^/# my notes\n/' "$dir/cut/$name"
    mends "notes in $name" "cut/$name: .*\(other text\|line 2 is none\)"
    fresh && echo "# my notes" >>"$dir/cut/$name"
    mends "notes at the end of $name" "cut/$name: line [0-9]* is none that the run has written"
done
fresh && sed -i '1s/^/my notes\n/' "$dir/cut/samples.txt"
mends "notes before the samples" "cut/samples.txt: up to step 2 it has other text"
fresh && sed -i '2s/$/\x00/' "$dir/cut/log.csv"
mends "a zero in log.csv" "cut/log.csv: up to step 2 it has other text"
fresh && printf 'step 9\n    half' >>"$dir/cut/samples.txt" && printf '9,0.' >>"$dir/cut/log.csv"
goes_on "half a row and half a sample of a later step"
fresh && echo "my notes" >"$dir/cut/log.csv"
refused "another log.csv" "cut/log.csv: its columns are my notes"

# ---- The best ----
fresh && sed -i 's/^/see /' "$dir/cut/best.txt"
refused "best.txt is another text" "cut/best.txt: it is not a line of a checkpoint"
fresh && echo "step-00000003.h5 0.5" >"$dir/cut/best.txt"
mends "best.txt of another run" "best.txt names step-00000003.h5, which is not there"
fresh && echo "step-00000002.h5 0.5" >"$dir/cut/best.txt"
goes_on "best.txt edited"
grep -q "note: .*best.txt has step-00000002.h5 0.5; by the checkpoint of step 2 it is" "$dir/said" || fail "no word of best.txt: $(cat "$dir/said")"

# ---- Configuration ----
fresh && sed -i 's/^lr = .*/lr = 0.5/' "$dir/cut/config.txt"
mends "config.txt edited" "cut/config.txt: it has lr = 0.5, and the checkpoint 0.003"
fresh && echo "my notes" >"$dir/cut/config.txt"
refused "another config.txt" "cut/config.txt: line 1.*not that of the run"
fresh && sed -i 's/^steps = .*/steps = 9/' "$dir/cut/config.txt"
goes_on "config.txt with other steps"
grep -q "note: .*config.txt: it has steps = 9, and the checkpoint 4" "$dir/said" || fail "no word of config.txt: $(cat "$dir/said")"

# ---- Folders in place of files ----
if [ "${PAL_TEST_ALL:-0}" = 1 ]; then
    inside="config.txt log.csv log.jsonl samples.txt best.txt loss.svg"
    pipes="config.txt log.csv samples.txt best.txt rate.svg"
else
    inside="log.jsonl best.txt loss.svg"
    pipes="config.txt samples.txt rate.svg"
fi
for name in $inside; do
    fresh && rm -f "$dir/cut/$name" && mkdir "$dir/cut/$name"
    refused "a folder $name" "cut/$name: .*folder\|cut/$name: .*directory"
done
# A pipe is not waited for, with a checkpoint and before the first one.
for name in $pipes; do
    fresh && rm -f "$dir/cut/$name" && mkfifo "$dir/cut/$name"
    timeout 200 "$lm" --resume --out "$dir/cut" >"$dir/said" 2>&1
    [ $? = 1 ] && grep -q "cut/$name: it is no regular file" "$dir/said" || fail "a pipe $name: $(cat "$dir/said")"
done
for name in config.txt log.csv; do
    fresh && rm -f "$dir/cut/$name" "$dir/cut"/step-* "$dir/cut/best.txt" && mkfifo "$dir/cut/$name"
    timeout 200 "$lm" --resume --out "$dir/cut" >"$dir/said" 2>&1
    [ $? = 1 ] && grep -q "cut/$name: it is no regular file" "$dir/said" || fail "a pipe $name in a new run: $(cat "$dir/said")"
done
fresh && mkdir "$dir/cut/step-00000003.h5"
refused "a folder in place of a checkpoint" "step-00000003.h5"

# ---- Checkpoints ----
fresh && cp "$dir/cut/step-00000002.h5" "$dir/cut/step-00000003.h5" && truncate -s 900 "$dir/cut/step-00000003.h5"
refused "a damaged checkpoint" "--resume-from 2 goes on from the checkpoint of that step"
goes_on "the one before it" --resume-from 2
[ -s "$dir/cut/step-00000003.h5.aside" ] || fail "the damaged checkpoint was not kept"
# The best of the newest checkpoint, which has no evaluation of its own.
fresh && goes_on "to the end"
resume --steps 100 --train-seconds 1e-9 || fail "one more step: $(cat "$dir/said")"
best=$(cut -d' ' -f1 "$dir/cut/best.txt")
[ "$best" = step-00000004.h5 ] && [ -s "$dir/cut/step-00000005.h5" ] || fail "another best than that of step 4: $best"
rm "$dir/cut/$best"
refused "the best is gone" "best.txt names $best, which is not there"
resume --steps 5 || fail "a look at a run whose best is gone: $(cat "$dir/said")"
grep -q "^warning: .*best.txt names $best, which is not there" "$dir/said" || fail "no warning: $(cat "$dir/said")"
rm "$dir/cut/best.txt"
refused "the best is gone, and best.txt" "cut: $best, the best so far with .*, is not there"
resume --steps 6 --mend || fail "--mend: $(cat "$dir/said")"
grep -q "warning: .*$best, the best so far" "$dir/said" || fail "no warning: $(cat "$dir/said")"


# ---- A run that has all its steps ----
fresh && goes_on "to the end"
cp -r "$dir/cut" "$dir/done"
finished() {
    rm -rf "$dir/cut"
    cp -r "$dir/done" "$dir/cut"
}
looks() { # what flags...: status 0, and the folder is then that of the run
    what=$1
    shift
    resume "$@" || fail "$what: $(cat "$dir/said")"
    diff -r -x '*.svg' "$dir/done" "$dir/cut" || fail "$what: the folder is another one"
}
finished && looks "a look"
grep -q "warning\|note" "$dir/said" && fail "a look: $(cat "$dir/said")"
finished && sed -i 's/^lr = .*/lr = 0.5/' "$dir/cut/config.txt"
refused "config.txt edited, all steps" "has lr = 0.5, and the checkpoint 0.003; the run would go on with the latter"
looks "config.txt edited, all steps, --mend" --mend
looks "config.txt edited, all steps, afterwards"
finished && rm "$dir/cut/config.txt" && looks "no config.txt, all steps"
finished && sed -i 's/ [0-9.]*$/ 0.5/' "$dir/cut/best.txt" && looks "best.txt edited, all steps"
grep -q "note: .*best.txt has .* 0.5; .*which is written" "$dir/said" || fail "no word of best.txt: $(cat "$dir/said")"
finished && sed -i 's/ [0-9.]*$/ 0.5/' "$dir/cut/best.txt"
resume --resume-from 2 --steps 2 || fail "a look at an older one: $(cat "$dir/said")"
grep -q "which is written" "$dir/said" && fail "a look at an older one writes nothing: $(cat "$dir/said")"
for text in "" "step-00000004.h5 0.5"; do
    finished && printf '%s' "$text" >"$dir/cut/best.txt"
    refused "best.txt is '$text'" "best.txt: .*. Move it away: it is made again"
    rm "$dir/cut/best.txt"
    looks "best.txt was '$text' and is moved away"
done
mkdir "$dir/bin"
printf '#!/bin/sh\nexit 1\n' >"$dir/bin/gnuplot"
chmod +x "$dir/bin/gnuplot"
finished && echo old >"$dir/cut/loss.svg" && touch -d 2001-01-01 "$dir/cut/loss.svg"
PATH="$dir/bin:$PATH" looks "plots that cannot be drawn"
grep -q "^train_lm: warning: " "$dir/said" || fail "no warning of plots: $(cat "$dir/said")"
rm "$dir/bin/gnuplot"
(PATH=$dir/bin && resume) || fail "no gnuplot: $(cat "$dir/said")"
grep -q gnuplot "$dir/said" && fail "a look asks for gnuplot: $(cat "$dir/said")"
if "$lm" --data "$dir/text" --out "$dir/new" --mend >"$dir/said" 2>&1; then fail "--mend of a new run was accepted"; fi
grep -q -e "--mend: it needs --resume" "$dir/said" || fail "--mend: $(cat "$dir/said")"

# ---- The lock: what another run holds is not touched, and there is no advice ----
fresh
cp "$dir/cut/step-00000002.h5" "$dir/cut/step-00000003.h5"
exec 5<"$dir/cut"
flock -x 5
refused "a folder that is in use" "another process trains in"
grep -q -e "resume-from\|mend\|remove" "$dir/said" && fail "advice: $(cat "$dir/said")"
exec 5<&-

# ---- Before the first checkpoint ----
fresh && rm "$dir"/cut/step-* "$dir/cut/best.txt"
sed -i '3,$d' "$dir/cut/log.csv"
goes_on "no checkpoint yet"
cmp "$dir/run/log.csv" "$dir/cut/log.csv" || fail "a run that begins again is another one"
fresh && rm "$dir"/cut/step-*
refused "the checkpoints are gone" "holds no checkpoint"
# One that a run saved at its last step only, or when it was stopped, and that is gone: its plots say so.
rm -rf "$dir/cut"
# shellcheck disable=SC2086
"$lm" $flags --held-out 0 --save-every 1000 --out "$dir/cut" >"$dir/said" 2>&1 || fail "$(cat "$dir/said")"
echo plot >"$dir/cut/loss.svg" # as gnuplot does
mv "$dir/cut/step-00000004.h5" "$dir/away.h5"
refused "the last checkpoint is gone" "holds no checkpoint to continue from, but loss.svg"
rm "$dir/cut/loss.svg"
refused "--resume-from a checkpoint that is gone" "holds no checkpoint" --resume-from 2
cp "$dir/away.h5" "$dir/cut/step-00000004.h5.aside"
refused "only one that was renamed" "holds no checkpoint to continue from, but a checkpoint that was renamed"
rm "$dir/cut/step-00000004.h5.aside"
sed '2h;$G' "$dir/run/log.csv" >"$dir/cut/log.csv"
refused "more rows than a run has steps" "holds no checkpoint to continue from, but rows of a log"

[ $failed = 0 ] && echo "a folder is told what is wrong with it"
exit $failed
