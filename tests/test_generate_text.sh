#!/bin/sh
# test_generate_text.sh - what generate makes of tokenizers and of several texts: a text ends by its token and begins with
# what belongs there, talks, whole characters, penalties, and batches in which each text is what it is alone.
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
gen() { # OUT arguments...
    out=$1
    shift
    "$B/examples/generate" "$@" >"$dir/$out" 2>"$dir/$out.err" </dev/null || fail "$*: $(cat "$dir/$out.err")"
}
refuses() { # words arguments...
    words=$1
    shift
    if "$B/examples/generate" "$@" >"$dir/out" 2>&1 </dev/null; then fail "accepted: $*"; fi
    grep -q -e "$words" "$dir/out" || fail "no \"$words\": $(cat "$dir/out")"
}
says() { grep -q -e "$2" "$dir/$1.err" || fail "no \"$2\": $(cat "$dir/$1.err")"; }
tokens() { # TOKENIZER TEXT: how many there are
    printf %s "$2" >"$dir/words"
    "$B/examples/tokenize" --tokenizer "$1" --out "$dir/words.h5" "$dir/words" 2>/dev/null |
        sed -n 's/^tokens     \([0-9]*\),.*/\1/p'
}
train() { # OUT TOKENIZER flags...
    out=$1 tokenizer=$2
    shift 2
    "$B/examples/tokenize" --tokenizer "$tokenizer" --separator '<cut>' --out "$dir/$out.h5" "$@" "$dir/docs" >"$dir/tok.txt" 2>&1 ||
        fail "tokenize: $(cat "$dir/tok.txt")"
    "$B/examples/train_lm" --data "$dir/$out.h5" --out "$dir/$out" --steps "${steps:-120}" --sample 0 --batch 4 --len 24 --threads 1 --lr 2e-2 \
        --mixers "$mixers" --layers 1 --width 32 >"$dir/$out.log" 2>&1 || fail "train_lm: $(cat "$dir/$out.log")"
}
i=0
while [ $i -lt 60 ]; do
    printf 'ab cab ab.\n<cut>\n'
    i=$((i + 1))
done >"$dir/docs"
qwen=tests/data/hf/qwen3_5/tokenizer.json llama=tests/data/hf/fla_gdn/tokenizer.json

# ---- The end of a text ----
mixers=gdn2:num_heads=2:head_dim=8
train ends $qwen --end '<|im_end|>'
ends=$dir/ends/step-00000120.h5
gen short "$ends" "ab cab" --temperature 0
[ "$(cat "$dir/short")" = "ab cab ab." ] || fail "the text does not end: $(cat "$dir/short")"
says short "the text has ended"
says short "the first after 0.[0-9]* s"
gen long "$ends" "ab cab" --temperature 0 --no-end --tokens 60
says long "written 60 tokens"
gen shown "$ends" "ab cab" --temperature 0 --special
grep -q '<|im_end|>$' "$dir/shown" || fail "--special shows no special token: $(cat "$dir/shown")"
gen early "$ends" "ab c" --temperature 0 --end b
[ "$(cat "$dir/early")" = "ab ca" ] || fail "--end does not end it: $(cat "$dir/early")"
refuses "and one is wanted" "$ends" "ab" --end "ab cab"

# ---- A talk ----
gen talk "$ends" "ab" --chat --system "cab" --tokens 3
want=$(tokens $qwen "<|im_start|>system
cab<|im_end|>
<|im_start|>user
ab<|im_end|>
<|im_start|>assistant
")
says talk "prompt  $((want - 1)) tokens"
grep -q "assistant" "$dir/talk" && fail "a talk shows the prompt: $(cat "$dir/talk")"
gen turn "$ends" "ab" --chat --tokens 3 --save-state "$dir/turn.h5"
gen next "$ends" "cab" --chat --tokens 3 --load-state "$dir/turn.h5"
train begins $llama --special
begins=$dir/begins/step-00000120.h5
gen plain "$begins" "ab" --chat --tokens 2
says plain "no <|im_start|> and <|im_end|>"
grep -q '^ab' "$dir/plain" || fail "the prompt is not shown: $(cat "$dir/plain")"

# ---- What stands before a text ----
gen with "$begins" "ab cab ab." --score
gen without "$begins" "ab cab ab." --score --plain
grep -q 'over 10 bytes' "$dir/with" || fail "the text has no token before it: $(cat "$dir/with")"
cmp -s "$dir/with" "$dir/without" && fail "--plain puts one there: $(cat "$dir/without")"
gen llama "$begins" "ab cab" --temperature 0 --tokens 4
grep -q '^ab cab ab' "$dir/llama" || fail "a space is lost or shown twice: $(cat "$dir/llama")"

# ---- Whole characters, also where a state goes on in the middle of one ----
for model in "$ends" "$begins"; do
    gen hot "$model" "ab" --temperature 50 --top-k 0 --tokens 200 --no-end
    iconv -f UTF-8 -t UTF-8 "$dir/hot" >/dev/null || fail "half a character: $(od -c "$dir/hot" | head -n 5)"
    for n in 41 42 43; do
        gen one "$model" "ab" --temperature 50 --top-k 0 --tokens $n --no-end --save-state "$dir/s.h5"
        gen two "$model" --temperature 50 --top-k 0 --tokens $((200 - n)) --no-end --load-state "$dir/s.h5"
        iconv -f UTF-8 -t UTF-8 "$dir/one" >/dev/null || fail "half a character before a state"
        cat "$dir/one" "$dir/two" | cmp -s - "$dir/hot" || fail "a state after $n tokens goes on with another text"
    done
done

# ---- A penalty for what occurred: a model that knows nothing repeats itself ----
steps=1 train knows $qwen
ends=$dir/knows/step-00000001.h5
gen free "$ends" "ab cab" --temperature 0 --no-end --tokens 80
gen bound "$ends" "ab cab" --temperature 0 --no-end --tokens 80 --repeat-penalty 3
cmp -s "$dir/free" "$dir/bound" && fail "a penalty changes nothing: $(cat "$dir/free")"
gen one "$ends" "ab cab" --temperature 0 --no-end --tokens 30 --repeat-penalty 3 --save-state "$dir/s.h5"
gen two "$ends" --temperature 0 --no-end --tokens 50 --repeat-penalty 3 --load-state "$dir/s.h5"
cat "$dir/one" "$dir/two" | cmp -s - "$dir/bound" || fail "a state forgets what occurred"
refuses "number above 0" "$ends" x --repeat-penalty 0
ends=$dir/ends/step-00000120.h5

# ---- Several texts: each is what it is alone, also long ones, which are read in pieces ----
long=$(printf 'ab %.0s' $(seq 250))c
longer=$(printf 'cab %.0s' $(seq 200))
printf '%s\n' ab '' 'ab cab a' "$long" cab "$longer" b >"$dir/prompts"
mixers=attn:num_heads=2
train looks $qwen --end '<|im_end|>'
for model in "$ends" "$dir/looks/step-00000120.h5"; do
    n=0
    gen several "$model" --prompts "$dir/prompts" --temperature 0 --tokens 20
    for prompt in "ab" "ab cab a" "$long" "cab" "$longer" "b"; do
        gen alone "$model" "$prompt" --temperature 0 --tokens 20
        n=$((n + 1))
        awk -v n="$n" '/^--- [0-9] of 6 ---$/ { k = $2; next } k == n' "$dir/several" >"$dir/block"
        { cat "$dir/alone" && echo; } | cmp -s - "$dir/block" || fail "text $n is $(cat "$dir/block"), and alone $(cat "$dir/alone")"
    done
    says several "of 6 texts have ended"
done
gen three "$ends" "ab" --batch 3 --seed 5 --temperature 2 --tokens 20
[ "$(grep -c '^--- [123] of 3 ---$' "$dir/three")" = 3 ] || fail "not 3 texts: $(cat "$dir/three")"
refuses "are for one text" "$ends" x --batch 2 --save-state "$dir/s.h5"
refuses "one too many" "$ends" x --prompts "$dir/prompts"
refuses "reads one text" "$ends" x --score --batch 2
refuses "chat is wanted" "$ends" x --system y
refuses "contradict" "$ends" x --end b --no-end
refuses "no line with a prompt" "$ends" --prompts /dev/null

[ $failed = 0 ] && echo "texts end, begin and stand side by side"
exit $failed
