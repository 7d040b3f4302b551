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

# BLIS's AVX2 family, by the number that its header gives it, and the AVX2 kernels.
cat >"$dir/id.c" <<'END'
#include <blis.h>
#include <stdio.h>
int main(void) { return printf("%d\n", (int)BLIS_ARCH_HASWELL) < 0; }
END
${CC:-gcc} -isystem "${BLIS_INC:-/usr/include/blis}" "$dir/id.c" -lblis -lm -o "$dir/id" || fail "blis.h gives no number"
haswell=$("$dir/id")
for setting in "BLIS_ARCH_TYPE=$haswell" "BLIS_ARCH_TYPE=$haswell PAL_ISA=avx2" "PAL_ISA=base"; do
    for threads in 1 2 3 16; do
        # shellcheck disable=SC2086
        env $setting "$B/examples/train_lm" --data "$dir/text" --out "$dir/a$threads" --sample 0 \
            $model --steps 3 --threads $threads >"$dir/a.txt" 2>&1 || fail "$setting: $(cat "$dir/a.txt")"
        same a1 a$threads || fail "the losses of 1 and $threads threads differ with $setting"
        cmp -s "$dir/a1/step-00000003.h5" "$dir/a$threads/step-00000003.h5" ||
            fail "the parameters of 1 and $threads threads differ with $setting"
    done
    case $setting in
    BLIS*)
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
refuses "not a value" --steps 0
refuses "not a value" --optimizer newton
refuses "of the run that is continued" --resume --data "$dir/cut.txt"
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
bad "line 3: width = many: not a value" "width = many"
bad "line 3: 'width 32' is not" "width 32"
bad "line 4: width is there twice" "width = 32
width = 32"

# ---- What a run leaves ----
# shellcheck disable=SC2086
lm full $small --steps 12 --save-every 3 --keep 2 --held-out 0.2 --eval-every 4 --sample-every 6 --average 0.5 \
    --accumulate 2 --optimizer sgd --lr 0.1 || fail "$(cat "$dir/full.txt")"
for file in config.txt log.csv log.jsonl best.txt samples.txt data.h5 loss.svg rate.svg; do
    case $file in *.svg) command -v gnuplot >/dev/null || continue ;; esac
    [ -s "$dir/full/$file" ] || fail "there is no $file"
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
