#!/bin/sh
# test_finetune.sh - train_lm --freeze and --lr-of: what is frozen keeps its bits, a factor is one of the step, a run that is
# continued keeps both, and a pattern that matches nothing is refused.
set -u
B=${B:-build}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
failed=0
export OMP_NUM_THREADS=1

fail() {
    echo "FAIL: $*"
    failed=1
}
llama=tests/data/hf/fla_gdn/tokenizer.json
i=0
while [ $i -lt 100 ]; do
    printf '%d bottles\n<cut>\n' $i >>"$dir/one"
    printf '%d labels, %d corks\n<cut>\n' $i $((i * i % 97)) >>"$dir/other"
    i=$((i + 1))
done
for text in one other; do
    "$B/examples/tokenize" --tokenizer $llama --special --separator '<cut>' --out "$dir/$text.h5" "$dir/$text" >"$dir/tok.txt" 2>&1 ||
        fail "tokenize: $(cat "$dir/tok.txt")"
done
train() { # OUT flags...
    out=$1
    shift
    "$B/examples/train_lm" --out "$dir/$out" --sample 0 --threads 1 "$@" >"$dir/$out.log" 2>&1 || fail "train_lm $*: $(cat "$dir/$out.log")"
}
train base --data "$dir/one.h5" --mixers gdn2:num_heads=2:head_dim=8,attn:num_heads=2 --layers 2 --width 16 --batch 2 --len 24 --steps 3
tune() { # OUT flags...
    out=$1
    shift
    train "$out" --config "$dir/base/config.txt" --data "$dir/other.h5" --init "$dir/base/step-00000003.h5" "$@"
}
# A model of mixers that contain those of --init computes the same at the start, and then trains with what they have more.
train small --data "$dir/one.h5" --mixers gdn:num_heads=2:head_dim=8:expand_v=1:output_gate=none --layers 2 --width 16 --batch 2 --len 24 --steps 3 --lr 1e-2
for mixer in gdn kda gdn2; do
    train "as-$mixer" --data "$dir/one.h5" --init "$dir/small/step-00000003.h5" --mixers "$mixer:num_heads=2:head_dim=8:expand_v=1:output_gate=none" \
        --batch 2 --len 24 --steps 4 --lr 1e-2 --seed 5
done
awk -F, 'FNR == 1 { for (i = 1; i <= NF; i++) if ($i == "loss") c = i } FNR == 2 { first[FILENAME] = $c } FNR == 5 { last[FILENAME] = $c }
    END { for (a in first) for (b in first) { d = first[a] - first[b]; if (d * d > 1e-9) bad = 1; if (a != b && last[a] == last[b]) bad = 1 } exit bad }' \
    "$dir/as-gdn/log.csv" "$dir/as-kda/log.csv" "$dir/as-gdn2/log.csv" ||
    fail "mixers that contain GDN: $(head -n 5 "$dir"/as-*/log.csv)"
if "$B/examples/train_lm" --data "$dir/one.h5" --init "$dir/base/step-00000003.h5" --mixers kda:num_heads=2:head_dim=8 --out "$dir/no" --steps 1 >"$dir/no.log" 2>&1; then
    fail "GDN-2 became KDA"
fi
grep -q -e '--init: .* has other mixers, and they are not mapped: layer 0 is kda.* does not contain gdn2' "$dir/no.log" || fail "$(cat "$dir/no.log")"
parts="--freeze model.embeddings.* --freeze *.attn_norm.weight --lr-of *.mlp.*=0.25,lm_head.*=0.5 --lr-of *=2
--schedule-of model.norm.*=cosine:lr=4e-3:lr_end=0.5:warmup=0:steps=5"
set -f # the patterns are for train_lm
# shellcheck disable=SC2086
tune step --steps 1 --lr 1e-3 --warmup 0 --weight-decay 0 --clip 0 $parts
# shellcheck disable=SC2086
tune whole --steps 6 $parts
# shellcheck disable=SC2086
tune half --steps 3 $parts
train half --resume --steps 6
set +f
grep -q '^freeze = model.embeddings.\*,\*.attn_norm.weight$' "$dir/step/config.txt" || fail "config.txt: $(grep freeze "$dir/step/config.txt")"
grep -q '^lr-of = \*.mlp.\*=0.25,lm_head.\*=0.5,\*=2$' "$dir/step/config.txt" || fail "config.txt: $(grep lr-of "$dir/step/config.txt")"
grep -q '^schedule-of = model.norm.\*=cosine:lr=4e-3' "$dir/step/config.txt" || fail "config.txt has no schedule-of"
grep -q '^trains  [0-9]* of [0-9]* parameters, without model.embeddings' "$dir/step.log" || fail "no word of what trains"
cmp -s "$dir/whole/log.csv" "$dir/half/log.csv" || fail "a run that is continued is another one"

if sh tests/support/has.sh h5py; then
    /usr/bin/python3 - "$dir" <<'END' || fail "other parts have moved"
import sys, h5py, numpy
d = sys.argv[1]
before, step, whole, half = (h5py.File(d + '/' + n)['params'] for n in
                             ('base/step-00000003.h5', 'step/step-00000001.h5', 'whole/step-00000006.h5', 'half/step-00000006.h5'))
frozen, moved = 0, {}
for name in before:
    a, b = before[name][...], step[name][...]
    assert numpy.array_equal(whole[name][...], half[name][...]), name
    if name.startswith('model.embeddings.') or name.endswith('.attn_norm.weight'):
        assert numpy.array_equal(a, b) and numpy.array_equal(a, whole[name][...]), name
        frozen += 1
        continue
    factor = 0.25 if '.mlp.' in name else 0.5 if name.startswith('lm_head.') else 4 if name.startswith('model.norm.') else 2
    # The first step of AdamW moves every element by the rate, where its gradient is above eps.
    most = abs(b - a).max() / 1e-3
    assert abs(most - factor) < 0.01 * factor, (name, most, factor)
    moved[factor] = True
assert frozen == 3 and len(moved) == 4, (frozen, moved)
END
fi

refuses() { # words flags...
    words=$1
    shift
    if "$B/examples/train_lm" --config "$dir/base/config.txt" --data "$dir/other.h5" --steps 1 --out "$dir/no" "$@" >"$dir/out" 2>&1; then
        fail "accepted: $*"
    fi
    grep -q -e "$words" "$dir/out" || fail "no \"$words\": $(cat "$dir/out")"
    [ -e "$dir/no/step-00000001.h5" ] && fail "a refused run was made: $*"
}
refuses "freeze: no parameter's name matches 'model.layer.0.\*'" --freeze 'model.layer.0.*'
refuses "lr-of: no parameter's name matches 'head'" --lr-of 'head=2'
refuses "all parameters are frozen" --freeze '*'
refuses "PATTERN=FACTOR is wanted" --lr-of '*'
refuses "\-\-freeze stops a part" --lr-of '*=0'
refuses "no number above 0" --lr-of '*=-1'
refuses "no number above 0" --lr-of '*=nan'
refuses "schedule-of: no parameter's name matches 'head'" --schedule-of 'head=linear'
refuses "PATTERN=KIND\[:KEY=VALUE...\] is wanted" --schedule-of '*'
refuses "'line' is no schedule; there are constant|linear" --schedule-of '*=line'
refuses "'\*': lr=-1 should be a number above 0" --schedule-of '*=linear:lr=-1'
refuses "there is no key \"end\"; its keys are lr, lr_end, warmup" --schedule-of '*=linear:end=1'
refuses "schedule-of: '\*': schedule: decay_steps 9 must be" --schedule-of '*=wsd:decay_steps=9:steps=5'
refuses "a pattern is empty" --schedule-of '*=linear,'
refuses "a pattern is empty" --freeze 'a,,b'
refuses "a pattern is empty" --lr-of '=2'
if "$B/examples/train_lm" --resume --out "$dir/half" --steps 8 --schedule-of '*.mlp.*=linear' >"$dir/out" 2>&1; then fail "a run that is continued has another schedule"; fi
grep -q "schedule-of is \*.mlp.\*=linear, and model.norm" "$dir/out" || fail "$(cat "$dir/out")"
tune ends --steps 1 --schedule-of '*=cosine'
if "$B/examples/train_lm" --resume --out "$dir/ends" --steps 2 >"$dir/out" 2>&1; then fail "a schedule that ended at --steps ends elsewhere"; fi
grep -q -e "where a schedule of --schedule-of ends" "$dir/out" || fail "$(cat "$dir/out")"
if "$B/examples/train_lm" --resume --out "$dir/half" --steps 8 --freeze '*.mlp.*' >"$dir/out" 2>&1; then fail "a run that is continued freezes other parts"; fi
grep -q "freeze is \*.mlp.\*, and model.embeddings" "$dir/out" || fail "$(cat "$dir/out")"

[ $failed = 0 ] && echo "parts of a model rest, or learn at their own rate"
exit $failed
