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
[ "$(echo "$dir"/t1/*.h5)" = "$dir/t1/step-00000006.h5" ] || fail "other checkpoints than the last step's"

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
lm whole $small --steps 12 --cosine 12 --save-every 5 --seed 7 || fail "$(cat "$dir/whole.txt")"
# shellcheck disable=SC2086
lm cut $small --steps 7 --cosine 12 --save-every 5 --seed 7 --threads 2 || fail "$(cat "$dir/cut.txt")"
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
echo changed >>"$dir/text"
refuses "--data is another text" --resume
if lm empty --resume; then fail "--resume without a run was accepted"; fi
if lm store --data "$dir/whole/step-00000012.h5"; then fail "an HDF5 file was taken for a text"; fi
grep -q -e "--data .*it is an HDF5 file" "$dir/store.txt" || fail "no word of HDF5: $(cat "$dir/store.txt")"

[ $failed = 0 ] && echo "train_lm keeps its promises"
exit $failed
