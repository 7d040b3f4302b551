#!/bin/sh
# limits.sh PROGRAMS JOBS SIZE... - programs with little address space, libraries included: each ends with status 0, or
# with 1 and a sentence.
#
#     sh tests/limits.sh build/programs 16 $(seq 60 12 900)
#
# PROGRAMS is the folder of train_lm, generate, inspect, tokenize, recall and ablate; a SIZE is in MiB, and is given to each
# of them with 1 and 2 threads (THREADS="1 2"). JOBS sizes are tried at once. The programs suffice, without a compiler. The status is 1 if one failed.
ulimit -c 0
tiny="--mixers gdn2:num_heads=1:head_dim=8 --layers 1 --width 16 --rows 8 --vocab 32 --pairs 4 --len 24 --steps 2"

# What ended: its status, and what it said last; sizes at which it cannot even be loaded (127) say nothing.
run() { # command...
    rm -rf out
    (ulimit -v $((size * 1024)) && exec timeout 300 "$@") >text.out 2>err
    status=$?
    what="$size MiB, $OMP_NUM_THREADS threads: $(basename "$1"): status $status"
    said=$(tail -1 err | cut -c1-200)
    case $status in
    0) echo taken ;;
    1) [ -s err ] && echo refused || echo "FAIL: $what and no sentence" ;;
    127) echo loaded ;;
    *) echo "FAIL: $what: $said" ;;
    esac
    # All files are whole, and no message may blame one.
    if grep -q -e damaged -e crashes -e 'cannot list' -e 'gave no reason' -e 'closing library' -e Aborting err; then
        echo "FAIL: $what and a false reason: $said"
    fi
}

# One size and number of threads, in a folder of its own.
if [ "$1" = --one ]; then
    x=$2 files=$3 size=${4#*:}
    export OMP_NUM_THREADS="${4%:*}"
    mkdir "$files/$4" && cd "$files/$4" || exit 1
    model=../run/step-00000002.h5
    # shellcheck disable=SC2086 # the flags are to be split
    {
        run "$x/train_lm" --data ../text.txt --layers 2 --width 128 --len 128 --batch 8 --steps 2 --sample 2 \
            --mixers gdn2,swa:window_size=16 --out out
        run "$x/generate" $model abc --tokens 3
        run "$x/inspect" $model --text abc --out out
        run "$x/tokenize" --train-vocab 300 --out store.h5 ../text.txt
        run "$x/recall" $tiny --out out
        run "$x/ablate" --layers ../task/model.h5 --rows 4 --out out
    } >../"$4.said" 2>&1
    exit 0
fi

[ $# -ge 3 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 1; }
x=$(cd "$1" && pwd) || exit 1
jobs=$2
shift 2
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
me=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
(
    cd "$dir" && seq -f 'line %g of a small text' 800 >text.txt || exit 1
    export OMP_NUM_THREADS=1
    # shellcheck disable=SC2086
    "$x/train_lm" --data text.txt --layers 1 --width 16 --len 16 --batch 2 --steps 2 --sample 0 --out run >/dev/null 2>err &&
        "$x/recall" $tiny --out task >/dev/null 2>err || { cat err; exit 1; }
) || exit 1
for size; do for n in ${THREADS:-1 2}; do echo "$n:$size"; done; done | xargs -P "$jobs" -I SIZE sh "$me" --one "$x" "$dir" SIZE
cat "$dir"/*.said >"$dir/all"
grep '^FAIL' "$dir/all"
count() { grep -c -x "$1" "$dir/all"; }
echo "$# sizes: status 0 $(count taken), a sentence $(count refused), not loaded $(count loaded), failed $(grep -c '^FAIL' "$dir/all")"
# Each run says one of them; 6 programs for each number of threads.
runs=$(($(echo "${THREADS:-1 2}" | wc -w) * 6 * $#))
[ $(($(count taken) + $(count refused) + $(count loaded))) = $runs ] && ! grep -q '^FAIL' "$dir/all"
