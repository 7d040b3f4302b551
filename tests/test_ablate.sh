#!/bin/sh
# test_ablate.sh - what ablate promises: a study gives the same bytes whoever makes its runs and however often it is
# stopped; what has not changed is not made again; models are as equal as the study asks, counted from their files; a study
# that makes no sense is an error by name; and of a trained model each layer's parts are taken away one at a time.
set -u
B=${B:-build}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
failed=0
export OMP_NUM_THREADS=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

fail() {
    echo "FAIL: $*"
    failed=1
}
ablate() { # OUT arguments...; what it prints is in OUT.log
    to=$1
    shift
    "$B/bench/ablate" "$@" --out "$dir/$to" >"$dir/$to.log" 2>&1
}
works() { ablate "$@" || fail "$*: status $?: $(cat "$dir/$1.log")"; }
says() { grep -q -e "$2" "$dir/$1.log" || fail "no \"$2\": $(cat "$dir/$1.log")"; }
same() { # FOLDER FOLDER why
    for f in results.csv curves.csv table.md results.h5; do
        cmp -s "$dir/$1/$f" "$dir/$2/$f" || fail "$3: $f of $1 and $2 differ"
    done
}

cat >"$dir/tiny.study" <<'END'
title = A tiny study
task = mqar:vocab=16:len=16:pairs=2,3
task = parity:min=2:max=8:test_len=8,16
width = 16
steps = 6
batch = 4
rows = 8
every = 3
seeds = 2, 5
state = 128
match = 3%
models = true
variant.mamba2 = mamba2:inner=32:head_dim=8:state_size=4     # the largest: the others become wider
variant.erase = gdn2:num_heads=2:head_dim=8:erase=scalar
variant.kda = kda:num_heads=2:head_dim=8
variant.kda.lr = 1e-2
END

# ---- The same bytes: one at a time, two, two ranks ----
works one "$dir/tiny.study" --jobs 1
works two "$dir/tiny.study" --jobs 2
same one two "two at a time"
# Leaks: see tests/support/ranks.sh.
ranks() { # N arguments...
    n=$1
    shift
    ASAN_OPTIONS=detect_leaks=0 timeout 120 mpirun --oversubscribe --bind-to none --mca mpi_yield_when_idle 1 -n "$n" \
        "$B/bench/ablate" "$@"
}
ranks 2 "$dir/tiny.study" --out "$dir/ranks" >"$dir/ranks.log" 2>&1 || fail "two ranks: $(cat "$dir/ranks.log")"
same one ranks "two ranks"
[ "$(wc -l <"$dir/one/results.csv")" = 25 ] || fail "not 12 runs of 2 points: $(cat "$dir/one/results.csv")"
[ "$(wc -l <"$dir/one/curves.csv")" = 25 ] || fail "not 12 runs of 2 looks: $(cat "$dir/one/curves.csv")"
for f in accuracy-mqar accuracy-parity curves-mqar curves-parity; do
    grep -q '</svg>' "$dir/one/$f.svg" || fail "no $f.svg"
done
[ -e "$dir/one/state-mqar.svg" ] && fail "a plot by state where all states are equal"

# ---- Made again, or not ----
cp -r "$dir/one/runs" "$dir/before"
works one "$dir/tiny.study"
says one '^12 runs, 0 of them to be made'
sed 's/lr = 1e-2/lr = 2e-2/' "$dir/tiny.study" >"$dir/changed.study"
works one "$dir/changed.study" --list
[ "$(grep -c '^[a-z]*-kda-[25] *missing' "$dir/one.log")" = 4 ] || fail "--list: $(cat "$dir/one.log")"
works one "$dir/changed.study"
says one '^12 runs, 4 of them to be made'
for run in "$dir"/before/*.txt; do
    name=$(basename "$run")
    case $name in
    *-kda-*) if cmp -s "$run" "$dir/one/runs/$name"; then fail "$name was not made again"; fi ;;
    *) cmp -s "$run" "$dir/one/runs/$name" || fail "$name was made again" ;;
    esac
done
# A run whose model is gone is one too few.
rm "$dir/one/runs/mqar-mamba2-5.h5"
works one "$dir/changed.study"
says one '^12 runs, 1 of them to be made'
[ -s "$dir/one/runs/mqar-mamba2-5.h5" ] || fail "no model"
# A file that is not whole is no result.
head -n 20 "$dir/one/runs/mqar-erase-2.txt" >"$dir/half" && cp "$dir/half" "$dir/one/runs/mqar-erase-2.txt"
works one "$dir/tiny.study"
says one '^12 runs, 5 of them to be made'
same one two "made again"

# ---- What is there, without runs ----
rm "$dir/one/results.csv" "$dir/one/table.md" "$dir/one/results.h5" "$dir/one/"*.svg
works one "$dir/tiny.study" --plots
for f in results.csv table.md results.h5; do
    [ ! -e "$dir/one/$f" ] || fail "--plots wrote $f"
done
for f in accuracy-mqar accuracy-parity curves-mqar curves-parity; do
    cmp -s "$dir/one/$f.svg" "$dir/two/$f.svg" || fail "--plots: $f.svg"
done
rm "$dir/one/"*.svg "$dir/one/runs/parity-kda-5.txt"
works one "$dir/tiny.study" --table
says one '^NOT COMPLETE: 1 of 12 runs are missing'
[ -e "$dir/one/curves-mqar.svg" ] || fail "--table without plots"
[ ! -e "$dir/one/runs/parity-kda-5.txt" ] || fail "--table made a run"
grep -v '^parity,kda,5,' "$dir/two/results.csv" | cmp -s - "$dir/one/results.csv" || fail "--table: results.csv"

# A result of another version stays one, and is told.
works one "$dir/tiny.study"
says one '^- kda: .*, lr = 0.01$'
if grep -q 'Not all runs' "$dir/one.log"; then fail "another version: $(cat "$dir/one.log")"; fi
sed -i 's/^code .*/code 0.0.9 abc/' "$dir/one/runs/parity-kda-5.txt"
sed -i '/^code /d; /^kernels /d' "$dir/one/runs/mqar-kda-5.txt"
works one "$dir/tiny.study" --list
says one '^12 runs are there, 0 are missing'
says one '^- 10 by [0-9.]* .*kernels'
says one '^- 1 by 0.0.9 abc, kernels'
says one '^- 1 by one that is not noted$'
works one "$dir/tiny.study"
says one '^12 runs, 0 of them to be made'
grep -q '^Not all runs were made by this version' "$dir/one/table.md" || fail "versions: $(cat "$dir/one/table.md")"
for f in results.csv curves.csv results.h5; do
    cmp -s "$dir/one/$f" "$dir/two/$f" || fail "a version has a say in $f"
done

# ---- Stopped in the middle, and gone on with ----
for signal in TERM INT KILL; do
    "$B/bench/ablate" "$dir/tiny.study" --out "$dir/$signal" --jobs 1 >"$dir/$signal.log" 2>&1 &
    pid=$!
    i=0
    while [ $i -lt 600 ] && ! ls "$dir/$signal/runs"/*.txt >/dev/null 2>&1; do
        sleep 0.02
        i=$((i + 1))
    done
    # Meanwhile the runs are those of one process; what is there can be shown.
    kill -STOP $pid
    if "$B/bench/ablate" "$dir/tiny.study" --out "$dir/$signal" >"$dir/second.log" 2>&1; then
        fail "two processes at the same runs"
    fi
    says second 'another process'
    "$B/bench/ablate" "$dir/tiny.study" --out "$dir/$signal" --table >"$dir/second.log" 2>&1 || fail "--table meanwhile"
    says second '^NOT COMPLETE'
    kill -$signal $pid
    kill -CONT $pid 2>/dev/null
    wait $pid 2>/dev/null
    status=$?
    case $signal in
    TERM) expected=143 ;;
    INT) expected=130 ;;
    KILL) expected=137 ;;
    esac
    [ $status = "$expected" ] || fail "$signal: status $status"
    [ $signal = KILL ] || says "$signal" '^stopped; the same command goes on$'
    works "$signal" "$dir/tiny.study" --list
    says "$signal" '[1-9][0-9]* runs are there, [1-9][0-9]* are missing'
    works "$signal" "$dir/tiny.study" --jobs 2
    same two "$signal" "stopped by $signal"
done

# ---- One run that fails is one ----
mkdir -p "$dir/bad/runs/mqar-kda-5.txt"
if ablate bad "$dir/tiny.study"; then fail "a run that could not be written is no failure"; fi
says bad 'mqar-kda-5 FAILED with status 1: ablate: .*mqar-kda-5.txt'
says bad '^ablate: 1 runs failed'
says bad '^NOT COMPLETE: 1 of 12 runs are missing'
grep -v '^mqar,kda,5,' "$dir/two/results.csv" | cmp -s - "$dir/bad/results.csv" || fail "the others did not go on"

# A loss that is no number is a result, and no accuracy.
cat >"$dir/nan.study" <<'END'
task = mqar:vocab=16:len=16:pairs=2
width = 16
steps = 30
batch = 4
rows = 8
variant.tame = kda:num_heads=2:head_dim=8
variant.wild = gdn:num_heads=2:head_dim=8
variant.wild.lr = 10
variant.wild.clip = 1e6
variant.wild.weight-decay = 10
END
works nan "$dir/nan.study"
says nan 'mqar-wild-1 .* the loss or the gradient of step .* is not finite'
says nan '^- tame: .kda:num_heads=2:head_dim=8., 2 layers$'
says nan '^- wild: .*, 2 layers, lr = 10, weight-decay = 10, clip = 1000000$'
says nan '^| wild |.*| 1, 1 failed | | |$'
grep -q '^mqar,wild,1,2 pairs,16,2,nan,' "$dir/nan/results.csv" || fail "a failed run: $(cat "$dir/nan/results.csv")"
works nan "$dir/nan.study"
says nan '^2 runs, 0 of them to be made'

# ---- What is equal, from the files ----
if /usr/bin/python3 -c 'import h5py' 2>/dev/null; then
    cat >"$dir/count.py" <<'END'
import csv, sys, h5py, numpy
d = sys.argv[1]
rows = list(csv.DictReader(open(d + '/results.csv')))
for task in 'mqar', 'parity':
    counts = {}
    with h5py.File(d + '/results.h5') as f:
        g = f[task]
        names = [v.decode() if isinstance(v, bytes) else v for v in [g.attrs['variants']]][0].split(',')
        seeds = list(g['seeds'])
        for r in rows:
            if r['task'] != task: continue
            with h5py.File('%s/runs/%s-%s-%s.h5' % (d, task, r['variant'], r['seed'])) as m:
                n = []
                m['params'].visititems(lambda _, x: n.append(x.size) if isinstance(x, h5py.Dataset) else None)
            assert sum(n) == int(r['parameters']), (r['variant'], sum(n), r['parameters'])
            assert int(r['state']) == 256, r
            counts[r['variant']] = sum(n)
            j = list(g['levels']).index(int(r['level']))
            a = g['accuracy'][names.index(r['variant']), seeds.index(int(r['seed'])), j]
            assert abs(a - float(r['accuracy'])) < 1e-8, (a, r)
            curve = g['curves/%s/%s' % (r['variant'], r['seed'])]
            assert curve.shape == (2, 4) and list(curve[:, 0]) == [3, 6] and curve[1, 2 + j] == a, curve[()]
        assert names == ['mamba2', 'erase', 'kda'] and g['accuracy'].shape == (3, 2, 2)
    target = counts['mamba2']
    assert all(abs(n - target) <= 0.03 * target for n in counts.values()), counts
    widths = {r['variant']: int(r['width']) for r in rows if r['task'] == task}
    assert widths['mamba2'] == 16 and widths['kda'] != 16, widths
print('equal')
END
    [ "$(/usr/bin/python3 "$dir/count.py" "$dir/two" 2>&1)" = equal ] ||
        fail "$(/usr/bin/python3 "$dir/count.py" "$dir/two" 2>&1)"
else
    echo "note: no h5py; counts are not compared with the files"
fi

# The MLP's width instead, to a number that is told; options multiply variants; attention's window is its state.
cat >"$dir/wide.study" <<'END'
task = mqar:vocab=16:len=16:pairs=2
width = 16
mlp = match
match = 1%
parameters = 9000
variant.gdn = gdn:num_heads=2:head_dim=8:expand_v=1,swa:num_heads=2:head_dim=8:window_size=5
variant.kda = kda:num_heads=2:head_dim=8
option.plain = none
option.wide = num_v_heads=4
END
sed 's/^variant.gdn.*/variant.gdn = gdn:num_heads=2:head_dim=8:expand_v=1/' "$dir/wide.study" >"$dir/wide2.study"
works wide "$dir/wide2.study" --smoke
awk -F, 'NR > 1 { n++; if ($16 < 8910 || $16 > 9090 || $18 != 16 || seen[$19]++ || $17 != ($2 ~ /wide/ ? 512 : 256)) bad = 1 }
    END { exit bad || n != 4 }' "$dir/wide/smoke/results.csv" || fail "MLP: $(cat "$dir/wide/smoke/results.csv")"
[ -e "$dir/wide/smoke/state-mqar.svg" ] || fail "no plot by state where states differ"
sed '/^option/d' "$dir/wide.study" >"$dir/window.study"
works window "$dir/window.study" --smoke
grep -q '| gdn | [0-9]* | 128 + 160 |' "$dir/window/smoke/table.md" || fail "state: $(cat "$dir/window/smoke/table.md")"

# ---- Rates ----
cat >>"$dir/tiny.study" <<'END'
rates = 1e-9, 1e-2
rate-seeds = 77, 78
rate-steps = 40
END
sed '/^task = parity/d; /^models/d' "$dir/tiny.study" >"$dir/rates.study"
works rates "$dir/rates.study" --rates
says rates '^12 runs, 12 of them to be made'
for v in mamba2 erase kda; do says rates "^variant.$v.lr = 0.01\$"; done
# An accuracy is the mean over points and seeds.
says rates 'seeds 77, 78:$'
mean=$(sed -n 's/^point \([^ ]*\).*/\1/p' "$dir"/rates/rates/mqar-kda-0.01-7[78].txt |
    awk '{ sum += $1 } END { printf "%.4f", sum / NR }')
grep -q "^| kda .* | $mean |\$" "$dir/rates.log" || fail "not the mean over seeds, $mean: $(cat "$dir/rates.log")"
[ ! -e "$dir/rates/runs" ] || fail "a search for rates made runs of the study"

# Its lines go into the study as they are, with options too; X+O wins over X.
cat >"$dir/both.study" <<'END'
task = mqar:vocab=16:len=16:pairs=2
width = 16
steps = 2
batch = 4
rows = 8
variant.a = kda:num_heads=2:head_dim=8
variant.a.warmup = 1
option.0to1 = none
option.0to2 = allow_neg_eigval=true
rates = 1e-9, 1.00000001e-2
rate-steps = 40
END
works both "$dir/both.study" --rates
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
says both "line 14: there is no variant 'a+0to3'"

# ---- Studies that make no sense ----
cat >"$dir/base" <<'END'
task = mqar:vocab=16:len=16:pairs=2
width = 16
variant.a = kda:num_heads=2:head_dim=8
END
refuses() { # words lines...
    words=$1
    shift
    { cat "$dir/base" && printf '%s\n' "$@"; } >"$dir/wrong.study"
    if ablate wrong "$dir/wrong.study" --list; then fail "accepted: $*"; fi
    says wrong "$words"
}
refuses "line 4: there is no key 'stepps'" 'stepps = 3'
refuses "line 4: steps = -3: it should be a whole number from 1" 'steps = -3'
refuses "line 4: lr = fast: it should be a number above 0" 'lr = fast'
refuses "line 4: lr = nan: it should be a number above 0" 'lr = nan'
refuses "line 4: seeds = 1,1: it should be a list" 'seeds = 1,1'
refuses "line 4: match = 300%: it should be a share" 'match = 300%'
refuses "line 4: mlp = big: it should be none, match or a width" 'mlp = big'
refuses "line 4: width is there twice, in line 2 too" 'width = 8'
refuses "line 4: 'just words' is not 'name = value'" 'just words'
refuses "line 4: variant b: there is no mixer \"gdn9\"" 'variant.b = gdn9'
refuses 'line 4: variant b: mixer kda has no key "erase"' 'variant.b = kda:erase=scalar'
refuses "line 4: variant.a is there twice" 'variant.a = gdn'
refuses 'line 4: variant b: mixer kda has no key "inner"; mamba2 alone does' 'variant.b = mamba2:inner=8,kda:inner=32'
refuses "line 4: the variants a and b are the same" 'variant.b = kda:num_heads=2:head_dim=8'
refuses "line 4: there is no variant 'b'" 'variant.b.lr = 1'
refuses "line 4: a variant has no 'seeds' of its own" 'variant.a.seeds = 1'
refuses "line 4: .*chess" 'task = chess'
refuses "line 4: the recurrent state of a layer is not 128 numbers everywhere" 'state = 128' 'variant.b = kda:num_heads=2:head_dim=4'
says wrong '^  a  *2 x 128$'
says wrong '^  b  *2 x 32$'
refuses "line 4: mqar: the parameters cannot be matched to .* within 3%" 'match = 3%' 'variant.b = kda:num_heads=2:head_dim=64'
says wrong '^  b  *[0-9]* at width '
refuses "line 4: variant b: inner= in .* does not go with a width of 16" 'variant.b = mamba2:inner=x'
refuses "line 4: rates = 0.01, 1e-2: it should be a list of up to 8 different numbers" 'rates = 0.01, 1e-2'
refuses "line 5: 1 of rate-seeds is one of the seeds" 'rates = 0.01' 'rate-seeds = 2, 1'
refuses "line 5: 1000 of rate-seeds is one of the seeds" 'rates = 0.01' 'seeds = 7, 1000'
refuses "line 3: variant a looks at the tests every 1 of 65537 steps; a run has at most 65536" 'steps = 65537' 'every = 1'
refuses "line 4: parameters = 500 without match" 'parameters = 500'
echo 'width = 8' >"$dir/none.study"
if ablate wrong "$dir/none.study"; then fail "a study without tasks was accepted"; fi
says wrong "no line 'task = ...'"
if ablate wrong "$dir/nothing.study"; then fail "no study at all was accepted"; fi
if ablate wrong "$dir/tiny.study" --jobs 0; then fail "--jobs 0 was accepted"; fi
says wrong "'0' is not a whole number from 1"

# ---- Layer by layer ----
works layers --layers "$dir/two/runs/mqar-erase-2.h5" --rows 8
csv=$dir/layers/layers.csv
[ "$(wc -l <"$csv")" = 14 ] || fail "not 1 + 2 layers of 6 edits: $(cat "$csv")"
# Unchanged it answers as it did in the study: means over the tests.
awk -F, 'FNR == NR { if ($1 == "mqar" && $2 == "erase" && $3 == 2) { a += $7; l += $9; n++ } next }
    $3 == "none" { d = $6 - a / n; e = $4 - l / n } END { exit !(n == 2 && d * d < 1e-14 && e * e < 1e-10) }' \
    "$dir/two/results.csv" "$csv" || fail "other answers than in the study: $(sed -n 2p "$csv")"
awk -F, '$3 == "skip" && $5 == 0 { bad = 1 } $3 == "mean_b" && $5 != 0 { bad = 1 }
    $3 ~ /mean_w|tie|mean_g|no_conv/ && $5 == 0 { bad = 1 } END { exit bad }' "$csv" || fail "changes: $(cat "$csv")"
grep -q 'seed 2, on mqar' "$dir/layers/layers.svg" || fail "no layers.svg that says its seed"
works again --layers "$dir/two/runs/mqar-erase-2.h5" --rows 8
cmp -s "$csv" "$dir/again/layers.csv" || fail "--layers gives other bytes the second time"
works layers --layers "$dir/two/runs/mqar-kda-2.h5" --rows 8
[ "$(cut -d, -f1,3 "$csv" | tr '\n' ' ')" = "layer,edit -1,none 0,skip 0,mean_g 0,no_conv 1,skip 1,mean_g 1,no_conv " ] ||
    fail "edits of kda: $(cat "$csv")"
works layers --layers "$dir/two/runs/mqar-mamba2-2.h5" --rows 8
[ "$(cut -d, -f1,3 "$csv" | tr '\n' ' ')" = "layer,edit -1,none 0,skip 0,no_conv 1,skip 1,no_conv " ] ||
    fail "edits of mamba2: $(cat "$csv")"

# A model of train_lm: its text, and another store.
head -c 6000 "$B/corpus.txt" >"$dir/text"
"$B/examples/train_lm" --data "$dir/text" --held-out 0.2 --mixers gdn2:num_heads=2:head_dim=8:num_v_heads=4,swa:num_heads=2 \
    --layers 2 --width 16 --steps 4 --batch 2 --len 32 --sample 0 --average 0.9 --out "$dir/lm" >"$dir/lm.log" 2>&1 ||
    fail "train_lm: $(cat "$dir/lm.log")"
works layers --layers "$dir/lm/step-00000004.h5" --rows 100
[ "$(cut -d, -f1,3 "$csv" | tr '\n' ' ')" = \
    "layer,edit -1,none 0,skip 0,mean_b 0,mean_w 0,tie_b_w 0,mean_g 0,no_conv 1,skip " ] || fail "edits: $(cat "$csv")"
# The loss of the unchanged model is what train_lm says of it, in nats.
held=$(awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "held_out") at = i } NR > 1 { h = $at } END { print h }' "$dir/lm/log.csv")
awk -F, -v held="$held" '$3 == "none" { d = $4 / log(2) - held } END { exit !(held > 1 && d < 1e-4 && d > -1e-4) }' "$csv" ||
    fail "a loss of $(sed -n 2p "$csv") where train_lm has $held bits per byte"
# That is the average of the weights; --last are others.
works last --layers "$dir/lm/step-00000004.h5" --rows 100 --last
[ "$(sed -n 2p "$csv")" != "$(sed -n 2p "$dir/last/layers.csv")" ] || fail "--last: the same as the average"
works layers --layers "$dir/lm/step-00000004.h5" --data "$dir/lm/data.h5" --rows 1
# Other tokens where those of the run were are not taken for them.
rev "$dir/text" >"$dir/other"
"$B/examples/train_lm" --data "$dir/other" --width 16 --layers 1 --steps 1 --batch 2 --len 32 --sample 0 --out "$dir/lm2" \
    >"$dir/lm.log" 2>&1 || fail "train_lm: $(cat "$dir/lm.log")"
cp "$dir/lm2/data.h5" "$dir/lm/data.h5"
if ablate wrong --layers "$dir/lm/step-00000004.h5" --rows 1; then fail "another store was taken"; fi
says wrong 'lm/data.h5 has the checksum [0-9a-f]*, and what the model was trained on had [0-9a-f]*'
works layers --layers "$dir/lm/step-00000004.h5" --data "$dir/lm/data.h5" --rows 1
if ablate wrong --layers "$dir/lm/step-00000004.h5" --data "$dir/text"; then fail "--data took a text"; fi
says wrong 'is no task .* and no store'
if ablate wrong --layers "$dir/two/runs/mqar-kda-2.h5" --data mqar:vocab=64:len=16:pairs=2; then fail "a larger vocabulary"; fi
says wrong 'knows 16 tokens, and the data have 64'
if ablate wrong --layers "$dir/text"; then fail "a text is no checkpoint"; fi
for flag in --smoke --table "--jobs 2"; do
    # shellcheck disable=SC2086 # two words
    if ablate wrong --layers "$dir/two/runs/mqar-kda-2.h5" $flag; then fail "--layers took $flag"; fi
    says wrong 'go with a study, and not with --layers'
done
ranks 2 --layers "$dir/two/runs/mqar-kda-2.h5" --out "$dir/nowhere" >"$dir/wrong.log" 2>&1 && fail "--layers on two ranks"
says wrong 'layers is for one process, not for 2 ranks'

# ---- chunks.sh finds its columns by name ----
mkdir -p "$dir/fake/bench"
cat >"$dir/fake/bench/rules" <<'END'
#!/bin/sh
while [ "$1" != --csv ]; do shift; done
{
    echo '# a note'
    echo 'ns,rule,share,chunk,direction'
    for rule in gdn2 kda gdn mamba2; do
        for chunk in 16 32 64; do echo "5.5,$rule,777,$chunk,forward"; echo "7.5,$rule,777,$chunk,forward+backward"; done
    done
} | if [ "${BREAK-}" ]; then sed 's/^ns/time/'; else cat; fi >"$2"
END
chmod +x "$dir/fake/bench/rules"
if B="$dir/fake" sh bench/studies/chunks.sh "$dir/chunks" >"$dir/chunks.log" 2>&1; then
    # The axis of times ends a little above 7.5, that of chunks has 32 on it, and 777 is on none.
    sed -n 's/.*<text>  *\([0-9][0-9]*\)<.*/\1/p' "$dir/chunks/chunks.svg" >"$dir/ticks"
    awk '$1 == 32 { seen = 1 } $1 > 128 || ($1 > 9 && $1 < 16) { bad = 1 } END { exit bad || !seen }' "$dir/ticks" ||
        fail "chunks.svg has the numbers $(tr '\n' ' ' <"$dir/ticks")"
else
    fail "chunks.sh: $(cat "$dir/chunks.log")"
fi
if BREAK=1 B="$dir/fake" sh bench/studies/chunks.sh "$dir/chunks" >"$dir/chunks.log" 2>&1; then fail "chunks.sh without ns"; fi
says chunks 'chunks.csv has no column ns'

[ $failed = 0 ] && echo "ablate keeps its promises"
exit $failed
