#!/bin/sh
# test_ablate.sh - what ablate promises: a study gives the same bytes whoever makes its runs and however often it is
# stopped; what has not changed is not made again; models are as equal as the study asks, counted from their files; a study
# that makes no sense is an error by name. --layers has tests/test_ablate_layers.sh, --rates tests/test_ablate_rates.sh.
. tests/support/ablate.sh

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
differ = output_gate
variant.mamba2 = mamba2:inner=32:head_dim=8:state_size=4     # the largest: the others become wider
variant.erase = gdn2:num_heads=2:head_dim=8:erase=scalar
variant.kda = kda:num_heads=2:head_dim=8
variant.kda.lr = 1e-2
END
# Models are looked at whenever a study is, which takes longer than all else: one folder of 12 has them.
{ cat "$dir/tiny.study" && echo "models = true"; } >"$dir/models.study"

# ---- Equal state and parameters of Mamba-2 and Mamba-3, whose inner width stays ----
cat >"$dir/turns.study" <<'END'
task = parity:min=2:max=8:test_len=8
width = 32
steps = 2
state = 128
match = 3%
variant.siso = mamba3:inner=32:head_dim=8:state_size=4:rope_fraction=1:A_act=heavy_tail
variant.mimo = mamba3:inner=32:head_dim=8:state_size=4:is_mimo=true:mimo_rank=2:is_outproj_norm=true
variant.mamba2 = mamba2:inner=32:head_dim=8:state_size=4:conv_kernel=1
END
plots=no
works turns "$dir/turns.study" --jobs 2
awk -F'|' '/^\| (siso|mimo|mamba2) / { n++; if ($4 !~ /^ 2 x 128 $/ || ($2 ~ /siso/ ? $5 !~ /^ 32 $/ : $5 !~ /\*/)) bad = 1 } END { exit bad || n != 3 }' \
    "$dir/turns/table.md" || fail "not equal states, or no width was searched: $(cat "$dir/turns/table.md")"

# Studies of earlier versions: rate-steps is read, and a difference that nobody named is a note.
sed '/^differ/d; s/^seeds/rate-steps = 3\nseeds/' "$dir/tiny.study" >"$dir/old.study"
works old "$dir/old.study" --list
says old '^ablate: note: variant kda has output_gate=sigmoid, and erase has output_gate=silu: not the rules alone'

# ---- The same bytes: one at a time, two, two ranks ----
plots=yes
works one "$dir/tiny.study" --jobs 1
works two "$dir/models.study" --jobs 2
same one two "two at a time"
# Leaks: see tests/support/ranks.sh.
ranks() { # N arguments...
    n=$1
    shift
    ASAN_OPTIONS=detect_leaks=0 timeout 800 mpirun --oversubscribe --bind-to none --mca mpi_yield_when_idle 0 -n "$n" \
        "$B/examples/ablate" "$@"
}
ranks 2 "$dir/tiny.study" --out "$dir/ranks" >"$dir/ranks.log" 2>&1 || fail "two ranks: $(cat "$dir/ranks.log")"
same one ranks "two ranks"
[ "$(wc -l <"$dir/one/results.csv")" = 25 ] || fail "not 12 runs of 2 points: $(cat "$dir/one/results.csv")"
[ "$(wc -l <"$dir/one/curves.csv")" = 25 ] || fail "not 12 runs of 2 looks: $(cat "$dir/one/curves.csv")"
for f in accuracy-mqar accuracy-parity curves-mqar curves-parity; do
    grep -q '</svg>' "$dir/one/$f.svg" || fail "no $f.svg"
done
[ -e "$dir/one/state-mqar.svg" ] && fail "a plot by state where all states are equal"

# Three parts in any order, one of them told as by Slurm.
plots=no
works parts "$dir/tiny.study" --part 2/3
says parts '^4 runs, 4 of them to be made'
SLURM_ARRAY_TASK_ID=7 SLURM_ARRAY_TASK_MIN=7 SLURM_ARRAY_TASK_COUNT=3 works parts "$dir/tiny.study"
says parts '^part 0 of 3 is made'
works parts "$dir/tiny.study" --part 1/3
works parts "$dir/tiny.study" --table
same one parts "three parts"
if ablate parts "$dir/tiny.study" --part 3/3; then fail "--part 3/3 was accepted"; fi
says parts '--part=3/3 should be I/N'

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
rm "$dir/two/runs/mqar-mamba2-5.h5"
plots=yes
works two "$dir/models.study"
says two '^12 runs, 1 of them to be made'
plots=no
[ -s "$dir/two/runs/mqar-mamba2-5.h5" ] || fail "no model"
# A file that is not whole is no result.
head -n 20 "$dir/one/runs/mqar-erase-2.txt" >"$dir/half" && cp "$dir/half" "$dir/one/runs/mqar-erase-2.txt"
works one "$dir/tiny.study"
says one '^12 runs, 5 of them to be made'
same one two "made again"
# ---- What is no result, in a study of two runs ----
# Each of them is looked at whenever the study is listed, and in one.
sed '/^task = mqar/d; /^match/d; /^state/d; /^variant.mamba2/d; s/^seeds.*/seeds = 2/' "$dir/models.study" >"$dir/few.study"
works few "$dir/few.study"
# A file with numbers that no run leaves is none: each of these is as if it were not there.
# Without models, for looks at those take most of the time.
sed '/^models/d' "$dir/few.study" >"$dir/plain.study"
works plain "$dir/plain.study"
file=$dir/plain/runs/parity-erase-2.txt
cp "$file" "$dir/good"
missing() { # FOLDER STUDY why: one run, for the list
    works "$1" "$2" --list
    grep -q ' runs are there, 1 are missing' "$dir/$1.log" || fail "$3 was believed"
}
for damage in 's/^point [^ ]*/point 7.5/' 's/^point [^ ]*/point nan/' 's/^\(point [^ ]*\) [^ ]*/\1 -0.5/' \
    's/^\(point [^ ]* [^ ]*\) [^ ]*/\1 -1/' 's/^\(point .*\) [0-9]* 8$/\1 0 8/' 's/^\(point .*\) 8$/\1 7/' \
    's/^\(point .*\) 8$/\1 8.5/' 's/^steps 6 /steps 2 /' 's/^steps 6 /steps 12 /' 's/^steps 6 /steps 6.5 /' \
    's/^\(steps 6 loss\) [^ ]*/\1 nan/' 's/seconds [^ ]*/seconds nan/' 's/failed 0/failed 1/' 's/failed 0/failed 2/' \
    '/^look/d; s/looks 2/looks 0/' 's/^look 6/look 5/' 's/^look 3/look 6/' 's/^\(look 3\) [^ ]*/\1 inf/' \
    's/^\(look 3 [^ ]*\) [^ ]*/\1 1.5/' 's/^\(look 6 [^ ]*\) [^ ]*/\1 0.99/' 's/^end/end of it/'; do
    sed "$damage" "$dir/good" >"$file"
    if cmp -s "$file" "$dir/good"; then fail "$damage damages nothing"; fi
    missing plain "$dir/plain.study" "$damage"
done
{ cat "$dir/good" && echo more; } >"$file"
missing plain "$dir/plain.study" "what comes after the end"
# It is made again: the same, but for the time it took.
works plain "$dir/plain.study"
says plain '^2 runs, 1 of them to be made'
sed 's/seconds.*//' "$dir/good" >"$dir/before.txt"
sed 's/seconds.*//' "$file" | cmp -s - "$dir/before.txt" || fail "made again, after damage: $(cat "$file")"
# A model has to be that of its run: this variant, this seed, after all steps.
sed 's/^seeds.*/seeds = 5/' "$dir/few.study" >"$dir/seed.study"
works seed "$dir/seed.study"
sed 's/^task.*/task = mqar:vocab=16:len=16:pairs=2/' "$dir/few.study" >"$dir/task.study"
works task "$dir/task.study"
model=$dir/few/runs/parity-erase-2.h5
cp "$model" "$dir/model"
for other in few/runs/parity-kda-2 seed/runs/parity-erase-5 task/runs/mqar-erase-2; do
    cp "$dir/$other.h5" "$model"
    missing few "$dir/few.study" "the model of $other"
done
: >"$model"
missing few "$dir/few.study" "an empty model"
head -c 3000 "$dir/model" >"$model"
missing few "$dir/few.study" "half a model"
rm "$model" && mkfifo "$model"
missing few "$dir/few.study" "a pipe for a model"
rm "$model" && cp "$dir/model" "$model"
if sh tests/support/has.sh h5py; then
    /usr/bin/python3 -c 'import h5py, sys; h5py.File(sys.argv[1], "r+").attrs.modify("step", 5)' "$model"
    missing few "$dir/few.study" "a model of step 5"
    cp "$dir/model" "$model"
fi
works few "$dir/few.study" --list
says few '^2 runs are there, 0 are missing'

# What reached `enough` ended earlier and is whole; what did not is none. A model that is kept no more goes.
cat >"$dir/early.study" <<'END'
task = parity:min=2:max=8
width = 16
steps = 6
batch = 4
rows = 64
every = 3
enough = 0.1
models = true
variant.kda = kda:num_heads=2:head_dim=8
END
file=$dir/early/runs/parity-kda-1.txt
works early "$dir/early.study"
grep -q '^steps 3 ' "$file" || fail "enough: $(cat "$file")"
works early "$dir/early.study" --list
says early '^1 runs are there, 0 are missing'
[ -s "$dir/early/runs/parity-kda-1.h5" ] || fail "no model of a run that ended early"
sed -i 's/^point [^ ]*/point 0.0625/; s/^\(look 3 [^ ]*\) .*/\1 0.0625/' "$file"
missing early "$dir/early.study" "an accuracy that is not enough after 3 of 6 steps"
sed -i '/^models/d' "$dir/early.study"
works early "$dir/early.study"
if ! [ -s "$file" ] || [ -e "$dir/early/runs/parity-kda-1.h5" ]; then fail "an earlier run's model beside another result"; fi

# ---- What is there, without runs ----
plots=yes
rm -f "$dir/one/results.csv" "$dir/one/table.md" "$dir/one/results.h5" "$dir/one/"*.svg
works one "$dir/tiny.study" --plots
for f in results.csv table.md results.h5; do
    [ ! -e "$dir/one/$f" ] || fail "--plots wrote $f"
done
for f in accuracy-mqar accuracy-parity curves-mqar curves-parity; do
    cmp -s "$dir/one/$f.svg" "$dir/two/$f.svg" || fail "--plots: $f.svg"
done
rm "$dir/one/"*.svg "$dir/one/runs/parity-kda-5.txt"
# Figures of other numbers do not stay; other files do.
for f in state-mqar state-parity2 accuracy-stack mine state-mine; do echo old >"$dir/one/$f.svg"; done
works one "$dir/tiny.study" --table
for f in state-mqar state-parity2 accuracy-stack; do
    [ ! -e "$dir/one/$f.svg" ] || fail "$f.svg of an earlier run stays"
done
for f in mine state-mine; do [ -e "$dir/one/$f.svg" ] || fail "$f.svg, which is none of ours, is gone"; done
# They tell which runs they are without.
for f in accuracy curves; do
    grep -q 'seeds 2, 5' "$dir/one/$f-parity.svg" || fail "$f: no seeds"
    grep -q '(kda: 1 of 2)' "$dir/one/$f-parity.svg" || fail "$f: not which run is missing"
    if grep -q 'kda: ' "$dir/one/$f-mqar.svg"; then fail "$f: no run of mqar is missing"; fi
done
says one '^NOT COMPLETE: 1 of 12 runs are missing'
[ -e "$dir/one/curves-mqar.svg" ] || fail "--table without plots"
[ ! -e "$dir/one/runs/parity-kda-5.txt" ] || fail "--table made a run"
grep -v '^parity,kda,5,' "$dir/two/results.csv" | cmp -s - "$dir/one/results.csv" || fail "--table: results.csv"

# Without gnuplot there are none, and old ones do not stay beside new numbers.
cp -r "$dir/one" "$dir/bare"
sed -i 's/^\(look 3 [^ ]*\) [^ ]*/\1 0.5/' "$dir/bare/runs/mqar-kda-2.txt"
bare() { env PATH=/nowhere "$B/examples/ablate" "$dir/tiny.study" --out "$dir/bare" "$@" >"$dir/bare.log" 2>&1; }
if bare --plots; then fail "--plots without gnuplot is no failure"; fi
says bare 'gnuplot is not installed'
[ -e "$dir/bare/curves-mqar.svg" ] || fail "--plots without gnuplot changed something"
bare --table || fail "--table without gnuplot: $(cat "$dir/bare.log")"
says bare 'gnuplot is not installed'
if cmp -s "$dir/one/curves.csv" "$dir/bare/curves.csv"; then fail "--table: no new numbers"; fi
for f in "$dir/bare"/*-mqar.svg "$dir/bare"/*-parity.svg; do
    [ ! -e "$f" ] || fail "an old $f beside new numbers"
done

# A result of another version stays one, and is told.
plots=no
works one "$dir/tiny.study"
says one '^- kda: .*, lr = 0.01$'
if grep -q 'Not all runs' "$dir/one.log"; then fail "another version: $(cat "$dir/one.log")"; fi
sed -i 's/^code .*/code 0.0.9 abc/' "$dir/one/runs/parity-kda-5.txt"
sed -i '/^code /d; /^kernels /d' "$dir/one/runs/mqar-kda-5.txt"
works one "$dir/tiny.study" --list
says one '^12 runs are there, 0 are missing'
says one '^- 10 by [0-9.]*[ ,].*kernels' # the commit follows the version where there is one
says one '^- 1 by 0.0.9 abc, kernels'
says one '^- 1 by one that is not noted$'
works one "$dir/tiny.study"
says one '^12 runs, 0 of them to be made'
grep -q '^Not all runs were made by this version' "$dir/one/table.md" || fail "versions: $(cat "$dir/one/table.md")"
for f in results.csv curves.csv results.h5; do
    cmp -s "$dir/one/$f" "$dir/two/$f" || fail "a version has a say in $f"
done

# ---- Stopped in the middle, and gone on with ----
if [ "${PAL_TEST_ALL:-0}" = 1 ]; then signals="TERM INT KILL"; else signals=KILL; fi
for signal in $signals; do
    "$B/examples/ablate" "$dir/tiny.study" --out "$dir/$signal" --jobs 1 >"$dir/$signal.log" 2>&1 &
    pid=$!
    i=0
    while [ $i -lt 6000 ] && ! ls "$dir/$signal/runs"/*.txt >/dev/null 2>&1; do
        sleep 0.02
        i=$((i + 1))
    done
    # Meanwhile the runs are those of one process; what is there can be shown.
    kill -STOP $pid
    if "$B/examples/ablate" "$dir/tiny.study" --out "$dir/$signal" >"$dir/second.log" 2>&1; then
        fail "two processes at the same runs"
    fi
    says second 'another process'
    PATH=/nowhere "$B/examples/ablate" "$dir/tiny.study" --out "$dir/$signal" --table >"$dir/second.log" 2>&1 || fail "--table meanwhile"
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
differ = output_gate
variant.tame = kda:num_heads=2:head_dim=8
variant.wild = gdn:num_heads=2:head_dim=8
variant.wild.lr = 10
variant.wild.clip = 1e6
variant.wild.weight-decay = 10
END
plots=yes
works nan "$dir/nan.study"
says nan 'mqar-wild-1 .* the loss or the gradient of step .* is not finite'
says nan '^- tame: .kda:num_heads=2:head_dim=8., 2 layers$'
says nan '^- wild: .*, 2 layers, lr = 10, weight-decay = 10, clip = 1000000$'
says nan '^| wild |.*| 1, 1 failed | | |$'
grep -q '^mqar,wild,1,2 pairs,16,2,nan,' "$dir/nan/results.csv" || fail "a failed run: $(cat "$dir/nan/results.csv")"
for f in accuracy curves; do
    grep -q '(wild: 0 of 1)' "$dir/nan/$f-mqar.svg" || fail "$f: not which run has failed"
done
works nan "$dir/nan.study"
says nan '^2 runs, 0 of them to be made'

# ---- What is equal, from the files ----
if sh tests/support/has.sh h5py; then
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

plots=no
# The width that is found is the nearest of all, from below and from above, also where a mixer refuses those between.
nearest() { # MIXER WIDTH WIDTH START: neighbours, and a width to begin from
    start=$4
    mkdir -p "$dir/near"
    base="task = mqar:vocab=16:len=16:pairs=2\nvariant.a = $1\n"
    for w in "$2" "$3"; do
        printf "$base"'width = %s\n' "$w" >"$dir/near.study"
        works near "$dir/near.study" --table
        sed -n 's/^| a | \([0-9]*\) .*/\1/p' "$dir/near.log"
    done >"$dir/counts"
    middle=$(awk '{ sum += $1 } END { print int(sum / NR) }' "$dir/counts")
    for start in $([ "${PAL_TEST_ALL:-0}" = 1 ] && echo 8 40 || echo "$start"); do
        for target in $((middle - 1)):$2 $((middle + 2)):$3; do
            printf "$base"'match = 50%%\nwidth = %s\nparameters = %s\n' $start "${target%:*}" >"$dir/near.study"
            works near "$dir/near.study" --table
            grep -q "^| a | [0-9]* | [^|]* | ${target#*:}\* |" "$dir/near.log" ||
                fail "$1 from $start to ${target%:*}, not ${target#*:}: $(grep '^| a' "$dir/near.log")"
        done
    done
}
nearest kda:num_heads=2:head_dim=8 20 21 8
nearest attn:num_heads=4 16 24 40

# The MLP's width instead, to a number that is told; options multiply variants; attention's window is its state.
cat >"$dir/wide.study" <<'END'
task = mqar:vocab=16:len=16:pairs=2
width = 16
mlp = match
match = 1%
parameters = 9000
variant.gdn = gdn:num_heads=2:head_dim=8:expand_v=1,swa:num_heads=2:head_dim=8:window_size=5
differ = output_gate
variant.kda = kda:num_heads=2:head_dim=8
option.plain = none
option.wide = num_v_heads=4
END
sed 's/^variant.gdn.*/variant.gdn = gdn:num_heads=2:head_dim=8:expand_v=1/' "$dir/wide.study" >"$dir/wide2.study"
plots=yes
works wide "$dir/wide2.study" --smoke
plots=no
awk -F, 'NR > 1 { n++; if ($16 < 8910 || $16 > 9090 || $18 != 16 || seen[$19]++ || $17 != ($2 ~ /wide/ ? 512 : 256)) bad = 1 }
    END { exit bad || n != 4 }' "$dir/wide/smoke/results.csv" || fail "MLP: $(cat "$dir/wide/smoke/results.csv")"
[ -e "$dir/wide/smoke/state-mqar.svg" ] || fail "no plot by state where states differ"
sed '/^option/d' "$dir/wide.study" >"$dir/window.study"
works window "$dir/window.study" --smoke
grep -q '| gdn | [0-9]* | 128 + 160 |' "$dir/window/smoke/table.md" || fail "state: $(cat "$dir/window/smoke/table.md")"

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
refuses "line 4: steps=-3 should be a whole number from 1 to 2147483647" 'steps = -3'
refuses "line 4: lr=fast should be a number above 0, up to 10" 'lr = fast'
refuses "line 4: lr=nan should be a number above 0, up to 10" 'lr = nan'
refuses "line 4: seeds=1,1 should be a list of different numbers" 'seeds = 1,1'
refuses "line 4: match=300% should be a share" 'match = 300%'
refuses "line 4: mlp=big should be none|match or a whole number from 1 to 1048576" 'mlp = big'
refuses "line 4: optimizer=newton: there is no optimiser \"newton\"; there are adamw, " 'optimizer = newton'
refuses "line 4: variant.a.optimizer=lion:beta1=2: optimiser lion: beta1=2 should be a number above 0, below 1" 'variant.a.optimizer = lion:beta1=2'
refuses "line 4: width is there twice, in line 2 too" 'width = 8'
refuses "line 4: 'just words' is not 'name = value'" 'just words'
refuses "line 4: variant b: there is no mixer \"gdn9\"" 'variant.b = gdn9'
refuses 'line 4: variant b: mixer kda: there is no key "erase"; its keys are num_heads,' 'variant.b = kda:erase=scalar'
refuses "line 4: variant.a is there twice" 'variant.a = gdn'
refuses 'line 4: variant b: mixer kda has no key "inner", nor "expand"' 'variant.b = mamba3:inner=8:head_dim=8,kda:inner=32'
refuses "line 4: variant b: mixer mamba3: A_act=relu should be softplus|heavy_tail" 'variant.b = mamba3:A_act=relu'
refuses "line 4: variant b: mamba3 .*rope_fraction is 0.3 and should be 0.5 or 1" 'variant.b = mamba3:rope_fraction=0.3'
refuses "line 4: variant b: mamba3 .*is_mimo needs an even state_size, and it is 5" 'variant.b = mamba3:is_mimo=true:state_size=5'
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
refuses "line 4: rates=0.01, 1e-2 should be a list of different numbers" 'rates = 0.01, 1e-2'
refuses "line 5: 1 of rate-seeds is one of the seeds" 'rates = 0.01' 'rate-seeds = 2, 1'
refuses "line 5: 1000 of rate-seeds is one of the seeds" 'rates = 0.01' 'seeds = 7, 1000'
refuses "line 3: variant a looks at the tests every 1 of 65537 steps; a run has at most 65536" 'steps = 65537' 'every = 1'
refuses "line 4: parameters = 500 without match" 'parameters = 500'
refuses 'line 4: variant b has output_gate=silu, and a has output_gate=sigmoid, which same = output_gate' 'variant.b = gdn' 'same = output_gate'
refuses 'line 4: variant b has conv_size=3, and a has conv_size=the default, which same = conv_size keeps equal' 'variant.b = kda:num_heads=2:head_dim=8:conv_size=3' 'same = conv_size'
refuses 'line 4: same: no mixer of this study has an option erase' 'same = erase'
refuses 'line 4: no variant has ${n}, and n is no option of variants' 'axis.n = 1, 2'
refuses 'line 4: axis.n should have a name and a list of values' 'axis.n = ,'
refuses 'line 5: the recurrent state of a layer is not the same in all variants' 'variant.b = kda:num_heads=2:head_dim=4' 'state = same'
echo 'width = 8' >"$dir/none.study"
if ablate wrong "$dir/none.study"; then fail "a study without tasks was accepted"; fi
says wrong "no line 'task = ...'"
if ablate wrong "$dir/nothing.study"; then fail "no study at all was accepted"; fi
if ablate wrong "$dir/tiny.study" --jobs 0; then fail "--jobs 0 was accepted"; fi
says wrong "--jobs=0 should be a whole number from 1 to 256"

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
if B="$dir/fake" sh bench/chunks.sh "$dir/chunks" >"$dir/chunks.log" 2>&1; then
    # The axis of times ends a little above 7.5, that of chunks has 32 on it, and 777 is on none.
    sed -n 's/.*<text>  *\([0-9][0-9]*\)<.*/\1/p' "$dir/chunks/chunks.svg" >"$dir/ticks"
    awk '$1 == 32 { seen = 1 } $1 > 128 || ($1 > 9 && $1 < 16) { bad = 1 } END { exit bad || !seen }' "$dir/ticks" ||
        fail "chunks.svg has the numbers $(tr '\n' ' ' <"$dir/ticks")"
else
    fail "chunks.sh: $(cat "$dir/chunks.log")"
fi
if BREAK=1 B="$dir/fake" sh bench/chunks.sh "$dir/chunks" >"$dir/chunks.log" 2>&1; then fail "chunks.sh without ns"; fi
says chunks 'chunks.csv has no column ns'

[ $failed = 0 ] && echo "ablate keeps its promises"
exit $failed
