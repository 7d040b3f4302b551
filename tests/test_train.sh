#!/bin/sh
# test_train.sh - what train_lm promises: the same losses on any number of threads, a run that is
# continued is the run that was not stopped, and a flag that differs is an error by name.
set -u
B=${B:-build}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
failed=0

fail() {
    echo "FAIL: $*"
    failed=1
}
# A text of its own, so that the losses do not move with the sources.
i=0
while [ $i -lt 400 ]; do
    echo "$i bottles, $((i * i % 97)) labels, $((i % 7)) corks"
    i=$((i + 1))
done >"$dir/text"

# Wide enough that products and maps are divided among threads.
lm() { # OUT flags...
    out=$1
    shift
    "$B/examples/train_lm" --data "$dir/text" --out "$dir/$out" --sample 20 "$@" >"$dir/$out.txt" 2>&1
}
model="--mixers gdn2:num_heads=2:head_dim=16,mamba2:head_dim=16:state_size=16 --layers 2 --width 64 --batch 4 --len 24"
same() { cmp -s "$dir/$1/log.csv" "$dir/$2/log.csv"; }

# ---- Threads ----
for threads in 1 2 3 16; do
    # shellcheck disable=SC2086 # the flags are to be split
    lm t$threads $model --steps 6 --dtype f64 --threads $threads || fail "$threads threads: $(cat "$dir/t$threads.txt")"
    same t1 t$threads || fail "the losses of 1 and $threads threads differ"
    cmp -s "$dir/t1/step-00000006.h5" "$dir/t$threads/step-00000006.h5" ||
        fail "the parameters of 1 and $threads threads differ"
done
[ "$(wc -l <"$dir/t1/log.csv")" = 7 ] || fail "log.csv does not have a row a step"
[ "$(echo "$dir"/t1/step-*.h5)" = "$(echo "$dir"/t1/step-0000000[456].h5)" ] ||
    fail "other checkpoints than those of the last three steps"

# PAL_TEST_ALL=1 also tries BLIS's AVX2 family with other kernels. Its number comes from BLIS's header.
haswell=
if [ "${PAL_TEST_ALL:-0}" = 1 ]; then
    cat >"$dir/id.c" <<'END'
#include <blis.h>
#include <stdio.h>
int main(void) { return printf("%d\n", (int)BLIS_ARCH_HASWELL) < 0; }
END
    ${CC:-gcc} -isystem "${BLIS_INC:-/usr/include/blis}" "$dir/id.c" -lblis -lm -o "$dir/id" || fail "blis.h gives no number"
    haswell=$("$dir/id")
fi
for setting in "2 BLIS_ARCH_TYPE=$haswell" "3 PAL_ISA=avx2" "16 PAL_ISA=base"; do
    case $setting in *BLIS*) [ -n "$haswell" ] || continue ;; esac
    teams=${setting%% *}
    setting=${setting#* }
    [ "${PAL_TEST_ALL:-0}" = 1 ] && teams="2 3 16"
    for threads in 1 $teams; do
        # shellcheck disable=SC2086
        env $setting "$B/examples/train_lm" --data "$dir/text" --out "$dir/a$threads" --sample 0 \
            $model --steps 3 --threads $threads >"$dir/a.txt" 2>&1 || fail "$setting: $(cat "$dir/a.txt")"
        same a1 a$threads || fail "the losses of 1 and $threads threads differ with $setting"
        cmp -s "$dir/a1/step-00000003.h5" "$dir/a$threads/step-00000003.h5" ||
            fail "the parameters of 1 and $threads threads differ with $setting"
    done
    case $setting in
    BLIS* | *avx2)
        if grep -q avx2 /proc/cpuinfo && ! grep -q 'BLIS haswell' "$dir/a.txt"; then
            fail "not haswell: $(cat "$dir/a.txt")"
        fi
        ;;
    esac
    rm -rf "$dir"/a1 "$dir"/a2 "$dir"/a3 "$dir"/a16
done

# ---- Continuing ----
small="--mixers gdn --layers 1 --width 32 --batch 2 --len 16"
# shellcheck disable=SC2086
lm one $small --steps 1 || fail "$(cat "$dir/one.txt")"
grep -i warning "$dir/one.txt" && fail "a run of one step is not plotted in silence"
# shellcheck disable=SC2086
lm whole $small --steps 12 --schedule cosine --schedule-steps 12 --save-every 5 --seed 7 || fail "$(cat "$dir/whole.txt")"
# shellcheck disable=SC2086
lm cut $small --steps 7 --schedule cosine --schedule-steps 12 --save-every 5 --seed 7 --threads 2 || fail "$(cat "$dir/cut.txt")"
# As after a kill at step 7: the last checkpoint is older than the last row, which is torn.
rm "$dir/cut/step-00000007.h5"
printf '8,1.2' >>"$dir/cut/log.csv"
lm cut --resume --steps 12 --threads 1 || fail "$(cat "$dir/cut.txt")"
same whole cut || fail "a run that was continued has other losses than one that was not stopped"
cmp -s "$dir/whole/step-00000012.h5" "$dir/cut/step-00000012.h5" ||
    fail "a run that was continued has another checkpoint than one that was not stopped"

refuses() { # what flags...
    what=$1
    shift
    if lm cut "$@"; then fail "$what was accepted"; fi
    grep -q -e "$what" "$dir/cut.txt" || fail "no word of $what: $(cat "$dir/cut.txt")"
}
refuses "--width is 64, and 32 in the run" --resume --width 64
refuses "--seed is 8" --resume --seed 8
refuses "--dtype is f64" --resume --dtype f64
refuses "--mixers is kda" --resume --mixers kda
refuses "holds a run already" --steps 3
refuses "bogus" --mixers bogus
refuses "--steps=0 should be a whole number from 1 to 2147483647" --steps 0
refuses '--optimizer=newton: there is no optimiser "newton"; there are adamw, ' --optimizer newton
refuses "optimiser lion: beta1=1 should be a number above 0, below 1" --optimizer lion:beta1=1
refuses "of the run that is continued" --resume --data "$dir/whole.txt"
# The run has its own copy of the text.
echo changed >>"$dir/text"
lm cut --resume --steps 13 || fail "$(cat "$dir/cut.txt")"
if lm empty --resume; then fail "--resume without a run was accepted"; fi
if lm store --data "$dir/whole/step-00000012.h5"; then fail "a checkpoint was taken for a store"; fi
grep -q -e "--data: .*step-00000012.h5" "$dir/store.txt" || fail "no word of the file: $(cat "$dir/store.txt")"

# A schedule that ends at --steps does not go on to others.
# shellcheck disable=SC2086
lm cosine $small --steps 4 --schedule cosine || fail "$(cat "$dir/cosine.txt")"
if lm cosine --resume --steps 8; then fail "the end of a cosine was moved"; fi
grep -q -e "--steps is 8, and 4 in the run" "$dir/cosine.txt" || fail "no word of --steps: $(cat "$dir/cosine.txt")"

# ---- Configuration ----
# A printed configuration repeats the run, and the command line wins over it.
# shellcheck disable=SC2086
lm print $small --steps 6 --lr 2.5e-3 --packed --seed 9 --print-config || fail "$(cat "$dir/print.txt")"
# shellcheck disable=SC2086
lm direct $small --steps 6 --lr 2.5e-3 --packed --seed 9 || fail "$(cat "$dir/direct.txt")"
lm again --config "$dir/print.txt" || fail "$(cat "$dir/again.txt")"
same direct again || fail "--print-config does not repeat the run"
lm third --config "$dir/direct/config.txt" || fail "$(cat "$dir/third.txt")"
same direct third || fail "config.txt does not repeat the run"
grep -q 'CRC-32C [0-9a-f]\{8\}, [0-9]* tokens' "$dir/direct/config.txt" || fail "config.txt does not tell the data"
lm wins --config "$dir/print.txt" --seed 10 --packed=false || fail "$(cat "$dir/wins.txt")"
grep -q '^seed = 10$' "$dir/wins/config.txt" && grep -q '^packed = false$' "$dir/wins/config.txt" ||
    fail "the command line does not win over --config"
bad() { # words of the error, the line
    printf '# a comment\n\n%s\n' "$2" >"$dir/bad"
    if lm bad --config "$dir/bad"; then fail "accepted: $2"; fi
    grep -q -e "$1" "$dir/bad.txt" || fail "no word of '$1': $(cat "$dir/bad.txt")"
}
bad "line 3: there is no flag 'wdth'" "wdth = 32"
bad "line 3: width=many should be a whole number from 1 to 2147483647" "width = many"
bad "line 3: 'width 32' is not" "width 32"
bad "line 4: width is there twice" "width = 32
width = 32"

# The data that config.txt tells are those that it was made with; a flag that names others is another run.
grep -q '^data-checksum = [0-9a-f]\{8\}$' "$dir/direct/config.txt" || fail "config.txt has no data-checksum"
cp "$dir/text" "$dir/kept"
echo other >>"$dir/text"
if lm other --config "$dir/direct/config.txt" --data-checksum "$(sed -n 's/^data-checksum = //p' "$dir/direct/config.txt")"; then
    fail "other data than those of --data-checksum were taken"
fi
grep -q -e "--data-checksum is" "$dir/other.txt" || fail "no word of the checksum: $(cat "$dir/other.txt")"
lm others --config "$dir/direct/config.txt" --data "$dir/text" || fail "$(cat "$dir/others.txt")"
if "$B/examples/train_lm" --config "$dir/direct/config.txt" --out "$dir/plain" >"$dir/plain.txt" 2>&1; then
    fail "config.txt was repeated with other data"
fi
cp "$dir/kept" "$dir/text"
# What is wrong by itself is told before there is a folder.
early() { # words of the error, flags...
    words=$1
    shift
    if "$B/examples/train_lm" --data "$dir/text" --out "$dir/early" "$@" >"$dir/early.txt" 2>&1; then fail "accepted: $*"; fi
    grep -q -e "$words" "$dir/early.txt" || fail "no word of '$words': $(cat "$dir/early.txt")"
    if [ -e "$dir/early" ]; then fail "a folder is left by $*"; fi
    rm -rf "$dir/early"
}
early "--out= should be a text of at least one byte" --out ""
early "--data= x should be a text" --data " x"
early "--average=1 should be a number from 0 to below 1" --average 1
early "--held-out=1 should be a number from 0 to below 1" --held-out 1
early "too short" --len 100000
early "decay" --schedule wsd --steps 10 --decay-steps 20

# ---- Beginning with other weights ----
# shellcheck disable=SC2086
lm averaged $small --steps 5 --average 0.9 || fail "$(cat "$dir/averaged.txt")"
step=$dir/averaged/step-00000005.h5
# shellcheck disable=SC2086
lm first $small --steps 1 --init "$step" || fail "$(cat "$dir/first.txt")"
grep -q "^init    the average of " "$dir/first.txt" || fail "the average is not taken: $(cat "$dir/first.txt")"
# shellcheck disable=SC2086
lm last $small --steps 1 --init "$step" --init-last || fail "$(cat "$dir/last.txt")"
grep -q "^init    the parameters of " "$dir/last.txt" || fail "--init-last takes the average: $(cat "$dir/last.txt")"
if same first last; then fail "the average of the parameters gives the loss of the last"; fi
lm initial --config "$dir/first/config.txt" || fail "$(cat "$dir/initial.txt")"
same first initial || fail "config.txt does not repeat a run with --init"
grep -q '^init-checksum = [0-9a-f]\{8\}$' "$dir/initial/config.txt" || fail "config.txt has no init-checksum"
# Earlier versions wrote 16 digits of FNV-1a. They are compared, and written anew as the others are.
sed "s/^init-checksum = .*/init-checksum = 0123456789abcdef/" "$dir/first/config.txt" >"$dir/old.config"
if lm unlike --config "$dir/old.config"; then fail "another checksum of an earlier version was taken"; fi
old=$(sed -n 's/.* has the checksum \([0-9a-f]\{16\}\) where --init-checksum is 0123456789abcdef$/\1/p' "$dir/unlike.txt")
[ -n "$old" ] || fail "no word of --init-checksum: $(cat "$dir/unlike.txt")"
sed -i "s/0123456789abcdef/$old/" "$dir/old.config"
lm older --config "$dir/old.config" || fail "the checksum of an earlier version: $(cat "$dir/older.txt")"
cmp -s "$dir/initial/step-00000001.h5" "$dir/older/step-00000001.h5" ||
    fail "the checksum of an earlier version changes the run"
# shellcheck disable=SC2086
lm averaged2 $small --steps 6 --average 0.9 || fail "$(cat "$dir/averaged2.txt")"
mv "$dir/averaged2/step-00000006.h5" "$step"
if lm changed --config "$dir/first/config.txt"; then fail "another file of --init was taken"; fi
grep -q -e "--init-checksum is" "$dir/changed.txt" || fail "no word of --init-checksum: $(cat "$dir/changed.txt")"

# ---- A run that is over; a store that is moved ----
cp -r "$dir/direct" "$dir/before"
if lm direct --resume --steps 1; then fail "--steps 1 of a run of 6 was accepted"; fi
lm direct --resume || fail "$(cat "$dir/direct.txt")"
grep -q "has its 6 steps already" "$dir/direct.txt" || fail "no word of 6 steps: $(cat "$dir/direct.txt")"
diff -r "$dir/direct" "$dir/before" || fail "a run that makes no step changes its folder"
cp "$dir/whole/data.h5" "$dir/store.h5"
# shellcheck disable=SC2086
"$B/examples/train_lm" --data "$dir/store.h5" $small --steps 1 --out "$dir/moved" >"$dir/moved.txt" 2>&1 || fail "$(cat "$dir/moved.txt")"
mv "$dir/store.h5" "$dir/there.h5"
if "$B/examples/train_lm" --resume --steps 2 --out "$dir/moved" >"$dir/moved.txt" 2>&1; then fail "a store that is not there was read"; fi
grep -q -e "store.h5 is no store.* by --data" "$dir/moved.txt" || fail "no word of --data: $(cat "$dir/moved.txt")"
"$B/examples/train_lm" --resume --steps 2 --out "$dir/moved" --data "$dir/there.h5" >"$dir/moved.txt" 2>&1 || fail "$(cat "$dir/moved.txt")"

# ---- What cannot be evaluated ----
# A token that is outside the vocabulary, in the part that is held out; its checksums are right.
if sh tests/support/has.sh h5py; then
    cat >"$dir/spoil.py" <<'END'
import sys, h5py
h5py.File(sys.argv[1], 'r+').attrs['vocab'] = 122.0
END
    { cat "$dir/text" && echo z; } >"$dir/with-z"
    # shellcheck disable=SC2086
    "$B/examples/train_lm" --data "$dir/with-z" --out "$dir/z" $small --steps 1 >"$dir/z.txt" 2>&1 || fail "$(cat "$dir/z.txt")"
    /usr/bin/python3 "$dir/spoil.py" "$dir/z/data.h5"
    # shellcheck disable=SC2086
    if "$B/examples/train_lm" --data "$dir/z/data.h5" --out "$dir/zz" $small --steps 2 --held-out 0.1 --eval-every 1 >"$dir/z.txt" 2>&1; then
        fail "an evaluation that failed is no error"
    fi
    grep -q "evaluation of step 1: .*token [0-9]* is 122" "$dir/z.txt" || fail "no word of the evaluation: $(cat "$dir/z.txt")"
fi

# ---- What a run leaves ----
# shellcheck disable=SC2086
lm full $small --steps 12 --save-every 3 --keep 2 --held-out 0.2 --eval-every 4 --sample-every 6 --average 0.5 \
    --accumulate 2 --optimizer sgd --lr 0.1 || fail "$(cat "$dir/full.txt")"
for file in config.txt log.csv log.jsonl best.txt samples.txt data.h5 loss.svg rate.svg; do
    case $file in *.svg) command -v gnuplot >/dev/null || continue ;; esac
    [ -s "$dir/full/$file" ] || fail "there is no $file"
    case $file in *.svg) grep -q 'gdn, seed 1' "$dir/full/$file" || fail "$file does not say what run it is of" ;; esac
done
best=$(cut -d' ' -f1 "$dir/full/best.txt")
[ -s "$dir/full/$best" ] || fail "best.txt names $best, which is not there"
value=$(cut -d' ' -f2 "$dir/full/best.txt")
least=$(cut -d, -f7 "$dir/full/log.csv" | grep '^[0-9]' | sort -g | head -n 1)
[ "$value" = "$least" ] || fail "best.txt says $value, and the least of the log is $least"
[ "$(cut -d, -f7 "$dir/full/log.csv" | grep -c '^[0-9]')" = 3 ] || fail "not three evaluations"
number=$(find "$dir/full" -name 'step-*.h5' ! -name "$best" | wc -l)
[ "$number" = 1 ] || [ "$number" = 2 ] || fail "$number checkpoints beside the best, of --keep 2"
[ "$(grep -c '^step ' "$dir/full/samples.txt")" = 2 ] || fail "not two samples"
[ "$(wc -l <"$dir/full/log.jsonl")" = 12 ] || fail "log.jsonl does not have a row a step"

[ $failed = 0 ] && echo "train_lm keeps its promises"
exit $failed
