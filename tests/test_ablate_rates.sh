#!/bin/sh
# test_ablate_rates.sh - ablate --rates: the best rate of each variant as lines that go into its study, and what is no
# finding is told instead.
. tests/support/ablate.sh

cat >"$dir/rates.study" <<'END'
title = A tiny study
task = mqar:vocab=16:len=16:pairs=2,3
width = 16
steps = 40
batch = 4
rows = 8
every = 3
seeds = 2, 5
state = 128
match = 3%
differ = output_gate
variant.mamba2 = mamba2:inner=32:head_dim=8:state_size=4     # the largest: the others become wider
variant.erase = gdn2:num_heads=2:head_dim=8:erase=scalar
variant.kda = kda:num_heads=2:head_dim=8
variant.kda.lr = 1e-2
rates = 1e-9, 1e-2, 10
rate-seeds = 77, 78
END

refused() { # OUT STUDY: a variant without a line is a failure
    if ablate "$1" "$2" --rates; then fail "a search without all lines is no failure: $(cat "$dir/$1.log")"; fi
}

# ---- The best of them, as lines ----
# After so few steps chance decides which rate is best, so the accuracies are set. At the largest rate a run may diverge.
ablate rates "$dir/rates.study" --rates
says rates '^18 runs, 18 of them to be made'
for run in "$dir"/rates/rates/*.txt; do
    case $run in *-0.01-77.txt) a=0.5 ;; *-0.01-78.txt) a=0.625 ;; *-10-*) a=0.375 ;; *) a=0.25 ;; esac
    sed -i "s/^point [^ ]*/point $a/; s/^\(look [0-9]* [^ ]*\) .*/\1 $a $a/" "$run"
done
[ "$(ls "$dir"/rates/rates/*.txt | wc -l)" = 18 ] || fail "not 18 runs: $(ls "$dir/rates/rates")"
works rates "$dir/rates.study" --rates
for v in mamba2 erase kda; do says rates "^variant.$v.lr = 0.01\$"; done
# An accuracy is the mean over points and seeds.
says rates 'seeds 77, 78:$'
mean=$(sed -n 's/^point \([^ ]*\).*/\1/p' "$dir"/rates/rates/mqar-kda-0.01-7[78].txt |
    awk '{ sum += $1 } END { printf "%.4f", sum / NR }')
grep -q "^| kda .* | $mean |" "$dir/rates.log" || fail "not the mean over seeds, $mean: $(cat "$dir/rates.log")"
[ ! -e "$dir/rates/runs" ] || fail "a search for rates made runs of the study"

# ---- What is no finding ----
# A variant that lacks a run has no line; a rate at which one failed is not the best.
run=$dir/rates/rates/mqar-kda-0.01-77.txt
mv "$run" "$dir/kept"
mkdir -p "$run/x"
if ablate rates "$dir/rates.study" --rates; then fail "a run of --rates that could not be written is no failure"; fi
for v in mamba2 erase; do says rates "^variant.$v.lr = 0.01\$"; done
if grep -q '^variant.kda' "$dir/rates.log"; then fail "a line without all runs: $(cat "$dir/rates.log")"; fi
says rates '^# kda: no line, for of 6 runs 1 are missing$'
rm -r "$run"
sed 's/^steps [0-9]* loss [^ ]*/steps 39 loss nan/; s/failed 0/failed 1/; s/looks 1$/looks 0/; /^look/d
    s/^point .*/point 0 0 0 0 0/' "$dir/kept" >"$run"
refused rates "$dir/rates.study"
says rates '^18 runs, 0 of them to be made'
says rates '^| kda .* | failed |'
if grep -q '^variant.kda' "$dir/rates.log"; then fail "a line although a run failed: $(cat "$dir/rates.log")"; fi
[ "$(wc -l <"$dir/rates/rates.csv")" = 10 ] || fail "rates.csv: $(cat "$dir/rates/rates.csv")"
grep -q '</svg>' "$dir/rates/rates.svg" || fail "no curves of rates"

# The edge of the list is its smallest and its largest rate, and there is no line of these; rates that are as good as each
# other are told.
cat >"$dir/edge.study" <<'END'
task = mqar:vocab=16:len=16:pairs=2
width = 16
steps = 2
batch = 4
rows = 8
differ = output_gate
variant.a = kda:num_heads=2:head_dim=8
variant.b = gdn:num_heads=2:head_dim=8
variant.c = gdn2:num_heads=2:head_dim=8
rates = 1e-2, 1e-3, 1e-1
END
accuracy() { # VARIANT RATE ACCURACY: of a result that is there
    sed -i "s/^point [^ ]*/point $3/; s/^\(look [0-9]* [^ ]*\) .*/\1 $3/" "$dir/edge/rates/mqar-$1-$2-1000.txt"
}
ablate edge "$dir/edge.study" --rates
for rate in 0.001 0.01 0.1; do for v in a b c; do accuracy $v $rate 0.25; done; done
accuracy a 0.01 0.5   # in the middle, and the first of the list
accuracy b 0.001 0.5  # the smallest, in the middle of the list
accuracy c 0.1 0.2656 # as good as the others
refused edge "$dir/edge.study"
says edge '^9 runs, 0 of them to be made'
for line in a.lr=0.01 c.lr=0.1; do says edge "^variant.${line%=*} = ${line#*=}\$"; done
if grep -q '^# a:' "$dir/edge.log"; then fail "a rate in the middle: $(cat "$dir/edge.log")"; fi
says edge '^# b: no line, for the best rate, 0.001, is at the edge of the list: add rates there$'
if grep -q '^variant.b' "$dir/edge.log"; then fail "a line at the edge: $(cat "$dir/edge.log")"; fi
says edge '^# c: no rate was better than another (0.2500 to 0.2656)$'
says edge '^ablate: 1 variants have no line$'
if grep -q 'runs failed' "$dir/edge.log"; then fail "runs that failed: $(cat "$dir/edge.log")"; fi

# ---- Lines in a study ----
# Its lines go into the study as they are, with options too; X+O wins over X.
cat >"$dir/both.study" <<'END'
task = mqar:vocab=16:len=16:pairs=2
width = 16
steps = 40
batch = 4
rows = 8
variant.a = kda:num_heads=2:head_dim=8
variant.a.warmup = 1
option.0to1 = none
option.0to2 = allow_neg_eigval=true
rates = 1e-9, 1.00000001e-2, 10
END
ablate both "$dir/both.study" --rates
for run in "$dir"/both/rates/*.txt; do
    case $run in *-0.0100000001-*) a=0.5 ;; *) a=0.25 ;; esac
    sed -i "s/^point [^ ]*/point $a/; s/^\(look 40 [^ ]*\) .*/\1 $a/" "$run"
done
works both "$dir/both.study" --rates
says both '^6 runs, 0 of them to be made'
sed -n '/^variant/p' "$dir/both.log" >>"$dir/both.study"
[ "$(grep -c '^variant.a+0to[12].lr = 0.0100000001$' "$dir/both.study")" = 2 ] || fail "lines: $(cat "$dir/both.log")"
sed -i 's/^variant.a+0to1.lr.*/variant.a.lr = 2e-2/' "$dir/both.study"
works both "$dir/both.study" --list
says both '^mqar-a+0to1-1  *missing, rate 0.02$'
says both '^mqar-a+0to2-1  *missing, rate 0.0100000001$'
works both "$dir/both.study"
for run in 0to1:0.02 0to2:0.0100000001; do
    file=$dir/both/runs/mqar-a+${run%:*}-1.txt
    for line in "lr = ${run#*:}" 'warmup = 1'; do
        grep -q "^$line" "$file" || fail "$line is not in $(cat "$file")"
    done
done
echo 'variant.a+0to3.lr = 1' >>"$dir/both.study"
if ablate both "$dir/both.study" --list; then fail "an option that is not there was accepted"; fi
says both "line 13: there is no variant 'a+0to3'"

[ $failed = 0 ] && echo "ablate --rates keeps its promises"
exit $failed
