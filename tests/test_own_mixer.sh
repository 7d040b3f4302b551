#!/bin/sh
# test_own_mixer.sh - a mixer of one's own, built as a shared object, in the programs: training, going on,
# generating, several processes, ablation.
set -u
B=${B:-build}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
failed=0
export OMP_NUM_THREADS=1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

fail() {
    echo "FAIL: $*"
    failed=1
}
[ -z "${SAN:-}" ] || { echo "note: a plugin finds no sanitizer; not tested"; exit 0; }
"${CC:-cc}" -std=c11 -D_GNU_SOURCE -Wall -Wextra -shared -fPIC -DPLUGIN -I. examples/07_own_mixer.c \
    -o "$dir/retention.so" || fail "the plugin does not build"
seq -f 'line %g of a text' 300 >"$dir/text"
list='retention:num_heads=2,gdn2:num_heads=1:head_dim=8'
small="--mixers $list --no-mlp --width 16 --layers 2 --len 16 --batch 2 --sample 0 --save-every 2"

# shellcheck disable=SC2086 # the flags are to be split
"$B/examples/train_lm" $small --steps 4 --data "$dir/text" --out "$dir/none" >"$dir/out" 2>&1 && fail "retention is known"
grep -q 'there is no mixer "retention"; there are .*gdn2' "$dir/out" || fail "without it: $(cat "$dir/out")"
PAL_MIXERS=$dir/no.so "$B/examples/generate" --help >"$dir/out" 2>&1 && fail "there is no no.so"
grep -q 'PAL_MIXERS: .*no.so' "$dir/out" || fail "no.so: $(cat "$dir/out")"

export PAL_MIXERS="$dir/retention.so"
train() { # folder arguments...
    to=$1
    shift
    # shellcheck disable=SC2086
    "$@" "$B/examples/train_lm" $small --data "$dir/text" --out "$to" --steps "$steps" >"$dir/out" 2>&1 ||
        fail "$to: $(tail -3 "$dir/out")"
}
steps=4 train "$dir/whole" env
steps=2 train "$dir/half" env
"$B/examples/train_lm" --resume --out "$dir/half" --steps 4 >"$dir/out" 2>&1 || fail "--resume: $(tail -3 "$dir/out")"
cp "$dir/half/step-00000002.h5" "$dir/two.h5"
losses() { cut -d, -f1,2 "$1/log.csv"; }
[ "$(losses "$dir/whole")" = "$(losses "$dir/half")" ] || fail "a run that went on has other losses"

model=$dir/whole/step-00000004.h5
"$B/examples/generate" "$model" line --tokens 8 --temperature 0 >"$dir/one" 2>"$dir/out" || fail "generate: $(cat "$dir/out")"
"$B/examples/generate" "$model" line --tokens 3 --temperature 0 --save-state "$dir/state.h5" >"$dir/a" 2>"$dir/out" ||
    fail "--save-state: $(cat "$dir/out")"
"$B/examples/generate" "$model" --tokens 5 --temperature 0 --load-state "$dir/state.h5" >"$dir/b" 2>"$dir/out" ||
    fail "--load-state: $(cat "$dir/out")"
cmp -s "$dir/state.h5" "$dir/two.h5" && fail "the state is a checkpoint"
"$B/examples/ablate" --layers "$model" --data "$dir/whole/data.h5" --rows 2 --out "$dir/layers" >"$dir/out" 2>&1 ||
    fail "ablate --layers: $(tail -3 "$dir/out")"
grep -q retention "$dir/out" || fail "ablate --layers does not name it: $(tail -5 "$dir/out")"
"$B/examples/inspect" "$model" --text line --no-figures --out "$dir/look" >"$dir/out" 2>&1 || fail "inspect: $(tail -3 "$dir/out")"
awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "layer_error") c = i } NR > 1 && !(c && $c < 1e-5) { exit 1 }' \
    "$dir/look/heads.csv" || fail "inspect steps another rule: $(cat "$dir/look/heads.csv")"
printf 'task = copy\nsteps = 3\nwidth = 16\nvariant.own = retention\nvariant.gdn2 = gdn2\n' >"$dir/own.study"
"$B/examples/ablate" "$dir/own.study" --out "$dir/study" >"$dir/out" 2>&1 || fail "a study: $(tail -3 "$dir/out")"
grep -q '^| own |' "$dir/study/table.md" || fail "the table of the study: $(cat "$dir/study/table.md")"

if command -v mpirun >/dev/null && ldd "$B/examples/train_lm" | grep -q libmpi; then
    # shellcheck disable=SC2086
    mpirun --oversubscribe --bind-to none --mca mpi_yield_when_idle 0 -n 2 "$B/examples/train_lm" $small --steps 4 \
        --sequence-parallel 2 --data "$dir/text" --out "$dir/ranks" >"$dir/out" 2>&1 || fail "2 ranks: $(tail -3 "$dir/out")"
    paste -d, "$dir/whole/log.csv" "$dir/ranks/log.csv" | awk -F, -v c="$(head -1 "$dir/whole/log.csv" | tr , '\n' | wc -l)" \
        'NR > 1 && ($2 - $(c + 2) > 1e-5 || $(c + 2) - $2 > 1e-5) { exit 1 }' || fail "2 ranks have other losses"
fi

[ $failed = 0 ] && echo "a mixer of one's own serves all programs"
exit $failed
