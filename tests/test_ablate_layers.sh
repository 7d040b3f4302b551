#!/bin/sh
# test_ablate_layers.sh - ablate --layers: of a trained model each layer's parts are taken away one at a time, on rows of a
# task or on held-out text. That each edit is what it says is held against other ways in tests/test_ablate_edits.c.
. tests/support/ablate.sh

cat >"$dir/tiny.study" <<'END'
task = mqar:vocab=16:len=16:pairs=2,3
width = 16
steps = 6
batch = 4
rows = 8
seeds = 2
models = true
differ = output_gate
variant.mamba2 = mamba2:inner=32:head_dim=8:state_size=4
variant.mamba3 = mamba3:inner=32:head_dim=8:state_size=4:is_mimo=true:mimo_rank=2
variant.erase = gdn2:num_heads=2:head_dim=8:erase=scalar
variant.full = gdn2:num_heads=2:head_dim=8
variant.kda = kda:num_heads=2:head_dim=8
END
works two "$dir/tiny.study"

# ---- A task ----
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
works layers --layers "$dir/two/runs/mqar-mamba3-2.h5" --rows 8
edits="skip euler no_turn no_bias equal_rows"
[ "$(cut -d, -f1,3 "$csv" | tr '\n' ' ')" = "layer,edit -1,none $(for l in 0 1; do for e in $edits; do printf '%s,%s ' $l $e; done; done)" ] ||
    fail "edits of mamba3: $(cat "$csv")"
awk -F, 'NR > 2 && $5 == 0 { bad = 1 } END { exit bad }' "$csv" || fail "an edit of mamba3 changes nothing: $(cat "$csv")"

# The names of many layers are turned, because they have no room side by side; those of two are not.
sed -e 's/^width/layers = 12\nwidth/' -e 's/^steps.*/steps = 1/' -e '/^variant.[mek]/d' "$dir/tiny.study" >"$dir/deep.study"
works deep "$dir/deep.study"
works turned --layers "$dir/deep/runs/mqar-full-2.h5" --rows 2
if command -v gnuplot >/dev/null; then
    [ "$(grep -c 'rotate(-30' "$dir/turned/layers.svg")" = 24 ] || fail "names of 12 layers in two panels are not turned"
    [ "$(grep -c 'rotate(-30' "$dir/layers/layers.svg")" = 0 ] || fail "names of two layers are turned"
fi

# Without gnuplot the figure of another model does not stay.
env PATH=/nowhere "$B/examples/ablate" --layers "$dir/two/runs/mqar-kda-2.h5" --rows 8 --out "$dir/again" >"$dir/again.log" 2>&1 ||
    fail "--layers without gnuplot: $(cat "$dir/again.log")"
says again 'gnuplot is not installed'
grep -q '^0,kda,' "$dir/again/layers.csv" || fail "not the numbers of kda: $(cat "$dir/again/layers.csv")"
[ ! -e "$dir/again/layers.svg" ] || fail "the figure of gdn2 stays beside the numbers of kda"

if sh tests/support/has.sh h5py; then
    cat >"$dir/change.py" <<'END'
import sys, h5py, numpy
with h5py.File(sys.argv[1], 'r+') as f:
    if sys.argv[2] == 'mixers': # of layer 0 and layer 1
        lines = f.attrs['config']
        lines = (lines.decode() if isinstance(lines, bytes) else lines).split('\n')
        lines = ['mixers = ' + sys.argv[3] if l.startswith('mixers =') else l for l in lines]
        f.attrs['config'] = numpy.bytes_('\n'.join(lines))
    else: # x, B and C of Mamba-2 are huge, and the convolution makes them what they were
        layer = 'params/model.layers.0.attn.'
        n = f[layer + 'conv1d.weight'].shape[0]
        f[layer + 'in_proj.weight'][32:32 + n, :] *= numpy.float32(1e20)
        f[layer + 'conv1d.weight'][...] *= numpy.float32(1e-20)
        for name in 'in_proj.weight', 'conv1d.weight': # the checksums that are no more
            for key in [k for k in f[layer + name].attrs if k != 'dtype']: del f[layer + name].attrs[key]
END
    loss() { awk -F, -v layer="$2" -v edit="$3" '$1 == layer && $3 == edit { print $4 }' "$dir/$1/layers.csv"; }
    # A gate's mean is what the option of the mixer makes of the same weights, bit for bit.
    gdn2=gdn2:num_heads=2:head_dim=8
    works full --layers "$dir/two/runs/mqar-full-2.h5" --rows 8
    for pair in mean_b:erase mean_w:write; do
        for mixers in "$gdn2:${pair#*:}=scalar,$gdn2" "$gdn2,$gdn2:${pair#*:}=scalar"; do
            case $mixers in *scalar) layer=1 ;; *) layer=0 ;; esac
            cp "$dir/two/runs/mqar-full-2.h5" "$dir/option.h5"
            /usr/bin/python3 "$dir/change.py" "$dir/option.h5" mixers "$mixers" || fail "change.py"
            works option --layers "$dir/option.h5" --rows 8
            is=$(loss full $layer "${pair%:*}") wanted=$(loss option -1 none)
            if [ -z "$is" ] || [ "$is" != "$wanted" ]; then
                fail "${pair%:*} of layer $layer: $is, and $mixers has $wanted"
            fi
            [ "$is" != "$(loss full -1 none)" ] || fail "${pair%:*} of layer $layer changes nothing"
        done
    done
    # A loss that is no number is no bar of 0: it has none, and the title says so.
    bars() { grep -c '<polygon' "$dir/layers/layers.svg"; }
    works layers --layers "$dir/two/runs/mqar-mamba2-2.h5" --rows 8
    whole=$(bars)
    if grep -q 'no convolution: nan' "$dir/layers/layers.svg"; then fail "a title of what is not so"; fi
    cp "$dir/two/runs/mqar-mamba2-2.h5" "$dir/huge.h5"
    /usr/bin/python3 "$dir/change.py" "$dir/huge.h5" huge || fail "change.py"
    works layers --layers "$dir/huge.h5" --rows 8
    grep -q '^0,mamba2,no_conv,nan,nan,' "$csv" || fail "x, B and C of 1e20 without convolution: $(cat "$csv")"
    grep -q '(layer 0, no convolution: nan)' "$dir/layers/layers.svg" || fail "the title does not tell what has no bar"
    [ "$(bars)" = $((whole - 1)) ] || fail "$whole bars, and then $(bars)"
else
    echo "note: no h5py; means of gates are not compared with the options of a mixer"
fi

# ---- A text ----
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
ASAN_OPTIONS=detect_leaks=0 timeout 800 mpirun --oversubscribe --bind-to none --mca mpi_yield_when_idle 0 -n 2 \
    "$B/examples/ablate" --layers "$dir/two/runs/mqar-kda-2.h5" --out "$dir/nowhere" >"$dir/wrong.log" 2>&1 && fail "--layers on two ranks"
says wrong 'layers is for one process, not for 2 ranks'

# Pipes that a checkpoint names, or that lie where its copy of the text was, are not waited for.
rm "$dir/other" && mkfifo "$dir/other"
timeout 300 "$B/examples/ablate" --layers "$dir/lm2/step-00000001.h5" --rows 1 --out "$dir/layers" >"$dir/layers.log" 2>&1 ||
    fail "a pipe where the text was: $(cat "$dir/layers.log")"
rm "$dir/lm2/data.h5" && mkfifo "$dir/lm2/data.h5"
for pipe in "$dir/lm2/step-00000001.h5:data.h5 is no file" "$dir/other:other is no file"; do
    timeout 300 "$B/examples/ablate" --layers "${pipe%%:*}" --rows 1 --out "$dir/layers" >"$dir/wrong.log" 2>&1
    status=$?
    if [ $status = 0 ] || [ $status = 124 ]; then fail "status $status: ${pipe#*:}"; fi
    says wrong "${pipe#*:}"
done

[ $failed = 0 ] && echo "ablate --layers keeps its promises"
exit $failed
