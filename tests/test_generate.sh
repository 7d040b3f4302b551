#!/bin/sh
# test_generate.sh - what generate promises: the same seed gives the same text, a saved state goes
# on as if nothing had happened, and a checkpoint or state that does not fit is an error.
set -u
B=${B:-build}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
failed=0
export OMP_NUM_THREADS=1 # models of this size only wait for a team; one call below asks for two

fail() {
    echo "FAIL: $*"
    failed=1
}
i=0
while [ $i -lt 200 ]; do
    echo "$i bottles, $((i * i % 97)) labels, $((i % 7)) corks"
    i=$((i + 1))
done >"$dir/text"

train() { # OUT steps flags...
    out=$1
    steps=$2
    shift 2
    "$B/examples/train_lm" --data "$dir/text" --out "$dir/$out" --steps "$steps" --sample 0 --batch 4 --len 48 --threads 1 \
        "$@" >"$dir/$out.log" 2>&1 || fail "train_lm: $(cat "$dir/$out.log")"
}
train hybrid 12 --mixers gdn2:num_heads=2:head_dim=8,swa:num_heads=2:window_size=9,kda,attn:num_heads=2 --layers 4 \
    --width 32 --lr 1e-2
train double 3 --mixers mamba2:head_dim=8:state_size=8 --layers 1 --width 16 --dtype f64
train turns 4 --mixers mamba3:head_dim=8:state_size=6:rope_fraction=1,mamba3:head_dim=8:state_size=6:n_groups=2:is_mimo=true \
    --layers 2 --width 16 --lr 1e-2
turns=$dir/turns/step-00000004.h5
hybrid=$dir/hybrid/step-00000012.h5
double=$dir/double/step-00000003.h5

gen() { # OUT arguments...; standard input is the prompt if none is given
    out=$1
    shift
    "$B/examples/generate" "$@" >"$dir/$out" 2>"$dir/$out.err" || fail "$*: $(cat "$dir/$out.err")"
}
same() { cmp -s "$dir/$1" "$dir/$2" || fail "$3: $(cat "$dir/$1") / $(cat "$dir/$2")"; }
size() { wc -c <"$dir/$1"; }

# ---- The average, or the last step ----
train averaged 3 --mixers mamba2:head_dim=8:state_size=8 --layers 1 --width 16 --dtype f64 --average 0.9
gen plain "$double" --score <"$dir/text"
gen last "$dir/averaged/step-00000003.h5" --score --last <"$dir/text"
gen mean "$dir/averaged/step-00000003.h5" --score <"$dir/text"
same plain last "--last does not take the parameters of the last step"
if cmp -s "$dir/mean" "$dir/last"; then fail "the average is not taken"; fi
grep -q "the average of the parameters" "$dir/mean.err" || fail "no word of the average: $(cat "$dir/mean.err")"

# What is the program's own is seen with the first model. What a state keeps is seen with each, but with the one of f64 only if
# PAL_TEST_ALL=1.
for model in "$hybrid" "$double" "$turns"; do
    [ "$model" = "$double" ] && [ "${PAL_TEST_ALL:-0}" != 1 ] && continue
    every=false
    [ $model = "$hybrid" ] || [ "${PAL_TEST_ALL:-0}" = 1 ] && every=true
    # ---- The same seed, the same text ----
    gen a "$model" "7 bottles" --tokens 60 --seed 3
    gen b "$model" "7 bottles" --tokens 60 --seed 3 --threads 2
    same a b "one seed gives two texts"
    [ "$(size a)" = 69 ] || fail "$(size a) bytes of 69"
    if $every; then
        printf '7 bottles' | gen c "$model" --tokens 60 --seed 3
        same a c "the prompt from standard input gives another text"
        gen d "$model" "7 bottles" --tokens 60 --seed 4
        cmp -s "$dir/a" "$dir/d" && fail "two seeds give one text"
        grep -q 'prompt .* tokens/s' "$dir/a.err" && grep -q 'written 60 tokens, [0-9]* tokens/s' "$dir/a.err" ||
            fail "no tokens per second: $(cat "$dir/a.err")"
        gen e "$model" "7 bottles" --tokens 60 --seed 3 --top-k 1 --temperature 2
        gen f "$model" "7 bottles" --tokens 60 --temperature 0
        same e f "the likeliest of one is not the likeliest"
        gen g "$model" "7 bottles" --tokens 60 --top-k 0 --top-p 1e-9
        same g f "a tiny top-p is not greedy"
    fi

    # ---- A state in the middle ----
    for how in "--seed 9 --top-p 0.9 --top-k 0" "--temperature 0" "--seed 9"; do
        # shellcheck disable=SC2086 # the flags are to be split
        gen whole "$model" "7 bottles, " --tokens 50 $how
        # shellcheck disable=SC2086
        gen one "$model" "7 bottles, " --tokens 20 $how --save-state "$dir/state.h5"
        rest=$(echo "$how" | sed 's/--seed 9//')
        # shellcheck disable=SC2086
        gen two "$model" --tokens 30 $rest --load-state "$dir/state.h5"
        cat "$dir/one" "$dir/two" >"$dir/joint"
        same whole joint "a saved state goes on with another text"
        [ "${PAL_TEST_ALL:-0}" = 1 ] || break
    done

    # ---- A prompt in two parts ----
    gen whole "$model" "12 bottles, 3 labels" --tokens 40 --temperature 0
    gen one "$model" "12 bott" --tokens 0 --save-state "$dir/state.h5"
    gen two "$model" "les, 3 labels" --tokens 40 --temperature 0 --load-state "$dir/state.h5"
    cat "$dir/one" "$dir/two" >"$dir/joint"
    same whole joint "a prompt in two parts goes on with another text"
done

# ---- The four parts of Mamba-3's state: all in the file, whose size does not grow with the text ----
gen one "$turns" "7 bottles" --tokens 5 --save-state "$dir/short.h5"
gen one "$turns" "7 bottles" --tokens 150 --save-state "$dir/long.h5"
if sh tests/support/has.sh h5py; then
    cat >"$dir/parts.py" <<'END'
import sys, h5py
def parts(f):
    found = {}
    f['state'].visititems(lambda name, d: found.update({name: d}) if isinstance(d, h5py.Dataset) else None)
    return found
d = sys.argv[1]
for name in 'short', 'long':
    with h5py.File(f'{d}/{name}.h5') as f:
        print(' '.join(sorted(f'{name}{list(d.shape)}'.replace(' ', '') for name, d in parts(f).items())))
for part in sys.argv[2:]: # one part of the second layer is gone
    with h5py.File(f'{d}/spoiled-{part}.h5', 'r+') as f:
        del f['state'][[n for n in parts(f) if n.endswith('1.' + part) or n.endswith('1/' + part)][0]]
END
    for part in state th k x; do cp "$dir/short.h5" "$dir/spoiled-$part.h5"; done
    /usr/bin/python3 "$dir/parts.py" "$dir" state th k x >"$dir/parts" || fail "not all parts are there"
    parts=$(head -n 1 "$dir/parts")
    [ "$parts" = "$(tail -n +2 "$dir/parts")" ] || fail "a state grows with the text"
    for part in 'state\[1,4,6,8\]' 'th\[1,4,3\]' 'th\[1,4,1\]' 'k\[1,4,1,6\]' 'k\[1,4,4,6\]' 'x\[1,4,8\]'; do
        echo "$parts" | grep -q -e "$part" || fail "no part $part in a state: $parts"
    done
    for part in state th k x; do
        if "$B/examples/generate" "$turns" --load-state "$dir/spoiled-$part.h5" >"$dir/out" 2>&1; then fail "a state without $part was taken"; fi
        grep -q "spoiled-$part.h5.*$part" "$dir/out" || fail "no word of $part: $(cat "$dir/out")"
    done
else
    echo "note: no h5py; the parts of a state are not listed"
fi

# ---- Scores ----
gen known "$hybrid" --score <"$dir/text"
head -c 2000 /dev/urandom >"$dir/random"
gen noise "$hybrid" --score <"$dir/random"
grep -q '^[0-9.]* bits per byte over [0-9]* bytes' "$dir/known" || fail "no score: $(cat "$dir/known")"
awk '{ b[NR] = $1 } END { exit !(b[1] < 7 && b[2] > 7.9 && b[1] > 0) }' "$dir/known" "$dir/noise" ||
    fail "a known text and noise cost $(cat "$dir/known" "$dir/noise")"

# ---- A tokenizer ----
# Two documents: the last is held out, in one window. Its first target follows the newline that ends
# the first, which is a token of its own: the score of that text is the evaluation of train_lm.
head -n 150 "$dir/text" >"$dir/first"
i=0
while [ $i -lt 12 ]; do
    printf '%d na\303\257ve corks\n' $i
    i=$((i + 1))
done >"$dir/last"
token() { "$B/examples/tokenize" "$@" >"$dir/tok.txt" 2>&1 || fail "tokenize: $(cat "$dir/tok.txt")"; }
token --out "$dir/store.h5" --train-vocab 300 --save-tokenizer "$dir/bpe.json" "$dir/first" "$dir/last"
for vocab in 0 310; do # 310: ten tokens more than the tokenizer has
    train bpe$vocab 5 --data "$dir/store.h5" --held-out 0.5 --len 300 --mixers gdn:num_heads=2:head_dim=8 --layers 1 \
        --width 16 --lr 1e-2 --vocab $vocab
    bpe=$dir/bpe$vocab/step-00000005.h5
    { echo && cat "$dir/last"; } | gen score "$bpe" --score
    awk -F, -v score="$(cat "$dir/score")" -v size="$(size last)" '
        NR == 1 { for (i = 1; i <= NF; i++) if ($i == "held_out") at = i }
        { held = $at }
        END { split(score, s, " "); exit !(s[6] == size && held > 0 && s[1] - held < 1e-4 && held - s[1] < 1e-4) }
        ' "$dir/bpe$vocab/log.csv" || fail "$(cat "$dir/score"), and train_lm: $(tail -n 1 "$dir/bpe$vocab/log.csv")"
    gen whole "$bpe" "7 bott" --tokens 200 --seed 3 --top-k 0 --temperature 2
    gen one "$bpe" "7 bott" --tokens 90 --seed 3 --top-k 0 --temperature 2 --save-state "$dir/state.h5"
    gen two "$bpe" --tokens 110 --top-k 0 --temperature 2 --load-state "$dir/state.h5"
    cat "$dir/one" "$dir/two" >"$dir/joint"
    same whole joint "tokens: a saved state goes on with another text"
    # More bytes than tokens, for tokens of one byte alone would give 206.
    [ "$(head -c 6 "$dir/whole")" = "7 bott" ] && [ "$(size whole)" -gt 206 ] || fail "no tokens: $(cat "$dir/whole")"
    grep -q 'written 200 tokens' "$dir/whole.err" || fail "$(cat "$dir/whole.err")"
done

# The model of one tokenizer is not that of another of equal size, nor of bytes.
tac "$dir/first" | tr '0-9' '5-90-4' >"$dir/other"
token --out "$dir/other.h5" --train-vocab 300 "$dir/other" "$dir/last"
init() { # OUT data init flags...
    out=$1 data=$2 from=$3
    shift 3
    "$B/examples/train_lm" --data "$data" --init "$from" --out "$dir/$out" --steps 1 --sample 0 --len 20 --batch 1 \
        --mixers gdn:num_heads=2:head_dim=8 --layers 1 --width 16 "$@" >"$dir/$out.log" 2>&1
}
init tuned "$dir/store.h5" "$dir/bpe0/step-00000005.h5" || fail "$(cat "$dir/tuned.log")"
for data in "$dir/other.h5" "$dir/text"; do
    if init strange "$data" "$dir/bpe0/step-00000005.h5" --vocab 300; then fail "--init took another tokenizer"; fi
    grep -q "with another tokenizer than that of --data" "$dir/strange.log" || fail "$(cat "$dir/strange.log")"
    rm -rf "$dir/strange"
done

# ---- Lists with repeats, and of any length ----
train repeats 2 --mixers '2*(2*gdn2:num_heads=2:head_dim=4,attn:num_heads=2:block.no_mlp=true)' --layers 0 --width 16
grep -q '^layers = 6$' "$dir/repeats/config.txt" || fail "not 6 layers: $(cat "$dir/repeats/config.txt")"
grep -q '^mixers = 2\*(2\*gdn2' "$dir/repeats/config.txt" || fail "the list is not as it was written"
gen one "$dir/repeats/step-00000002.h5" "x" --tokens 2
train repeats 3 --resume
long=gdn2:num_heads=2:head_dim=4
for i in 1 2 3 4 5; do long=$long,$long; done # 863 bytes
train long 1 --mixers "$long" --layers 2 --width 16
gen one "$dir/long/step-00000001.h5" "x" --tokens 2
"$B/examples/train_lm" --config "$dir/long/config.txt" --print-config >"$dir/printed" || fail "--config does not read a long list"
grep -q "^mixers = $long\$" "$dir/printed" || fail "a long list is cut off"

# ---- What is refused ----
refuses() { # words arguments...
    words=$1
    shift
    if "$B/examples/generate" "$@" >"$dir/out" 2>&1 </dev/null; then fail "accepted: $*"; fi
    grep -q -e "$words" "$dir/out" || fail "no \"$words\": $(cat "$dir/out")"
}
gen one "$hybrid" "x" --tokens 1 --save-state "$dir/hybrid.h5"
refuses "layer 0 is gdn2 where mamba2 is wanted" "$double" --load-state "$dir/hybrid.h5"
refuses "no attribute" "$dir/hybrid.h5" "x"
refuses "cannot be read" "$dir/nothing.h5" "x"
# A state belongs to the parameters and the tokenizer that it was saved with; older files do not say.
gen one "$dir/averaged/step-00000003.h5" "x" --tokens 1 --save-state "$dir/owned.h5"
refuses "owned.h5 does not go on with.*is of another model" "$dir/averaged/step-00000003.h5" --last --load-state "$dir/owned.h5"
if sh tests/support/has.sh h5py; then
    cp "$dir/owned.h5" "$dir/nobody.h5"
    /usr/bin/python3 - "$dir/owned.h5" "$dir/nobody.h5" <<'END'
import sys, h5py
with h5py.File(sys.argv[1], 'r+') as f:
    f.attrs['tokenizer'] = b'0000000000000001'
with h5py.File(sys.argv[2], 'r+') as f:
    del f.attrs['tokenizer'], f['state'].attrs['params']
END
    refuses "of another tokenizer, 0000000000000001, and that of .* is bytes" "$dir/averaged/step-00000003.h5" --load-state "$dir/owned.h5"
    gen two "$dir/averaged/step-00000003.h5" --tokens 1 --load-state "$dir/nobody.h5"
    grep -q "does not say of which model" "$dir/two.err" || fail "no note on a state without an owner"
fi
refuses "cannot be read" "$hybrid" "x" --load-state "$dir/nothing.h5"
refuses "not a readable HDF5 file" "$dir/text" "x"
refuses "prompt is empty" "$hybrid"
refuses "two tokens or more" "$hybrid" x --score
refuses "without state" "$hybrid" xyz --score --load-state "$dir/hybrid.h5"
refuses "number from 0" "$hybrid" x --temperature -1
refuses "number from 0" "$hybrid" x --top-p 2
refuses "whole number" "$hybrid" x --tokens many
refuses "quotation marks" "$hybrid" two words
head -c 3000 "$hybrid" >"$dir/half.h5"
refuses "not a readable HDF5 file" "$dir/half.h5" x
if sh tests/support/has.sh h5py; then
    cat >"$dir/spoil.py" <<'END'
import sys, h5py, numpy
d, text = sys.argv[1:3]
good = open(d + '/bpe.json', 'rb').read()
for name, data in (('cut', good[:-9]), ('zero', b'\0' + good[1:]), ('empty', b''), ('more', open(d + '/more.json', 'rb').read()),
                   ('wide', numpy.frombuffer(good, 'u1').astype('u2')), ('float', numpy.zeros(9)),
                   ('huge', None)):
    with open(d + '/' + name + '.h5', 'wb') as f:
        f.write(open(text, 'rb').read())
    with h5py.File(d + '/' + name + '.h5', 'r+') as f:
        del f['tokenizer']
        if data is None:
            f.create_dataset('tokenizer', (1 << 50,), 'u1', chunks=(1 << 20,))
        else:
            f['tokenizer'] = numpy.frombuffer(data, 'u1') if isinstance(data, bytes) else data
END
    token --out "$dir/more.tokens.h5" --train-vocab 320 --save-tokenizer "$dir/more.json" "$dir/text"
    /usr/bin/python3 "$dir/spoil.py" "$dir" "$dir/bpe0/step-00000005.h5" || fail "no spoiled tokenizers"
    # They are fuzzed by tests/fuzz, too.
    if [ "${PAL_TEST_ALL:-0}" = 1 ]; then
        refuses "empty.h5: .*tokenizer" "$dir/empty.h5" x
        refuses "wide.h5: /tokenizer is empty or not of bytes" "$dir/wide.h5" x
        refuses "float.h5: .*tokenizer" "$dir/float.h5" x
    fi
    refuses "cut.h5: its tokenizer: " "$dir/cut.h5" x
    refuses "zero.h5: byte 0 of /tokenizer is 0" "$dir/zero.h5" x
    refuses "more tokens than its model" "$dir/more.h5" x
    refuses "huge.h5: .*tokenizer" "$dir/huge.h5" x
else
    echo "note: no h5py; spoiled tokenizers are not tested"
fi
gen help --help
grep -q -e '--load-state' "$dir/help" || fail "--help does not teach"

[ $failed = 0 ] && echo "generate keeps its promises"
exit $failed
