#!/bin/sh
# test_tokenize.sh - what tokenize promises: a store holds the text, which h5py gives back by the
# store's own tokenizer; learning is repeatable; what does not fit is an error.
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
tok() { # OUT arguments...
    out=$1
    shift
    "$B/examples/tokenize" --out "$dir/$out.h5" "$@" >"$dir/$out.txt" 2>&1 || fail "$*: $(cat "$dir/$out.txt")"
}
says() { grep -q -e "$2" "$dir/$1.txt" || fail "no \"$2\": $(cat "$dir/$1.txt")"; }

naive=$(printf 'na\303\257ve')
i=0
while [ $i -lt 300 ]; do
    echo "$i bottles, $((i * i % 97)) labels, it's $naive"
    if [ $((i % 60)) = 59 ]; then echo '<cut>'; fi
    i=$((i + 1))
done >"$dir/a"
head -c 3000 "$B/examples/tokenize" >"$dir/b" # no UTF-8
: >"$dir/empty"
grep -v '^<cut>$' "$dir/a" >"$dir/a-text"
size() { wc -c <"$1" | tr -d ' '; }
all=$(($(size "$dir/a-text") + $(size "$dir/b")))

tok bytes "$dir/a" "$dir/b" "$dir/empty"
says bytes "^tokenizer  256 tokens"
says bytes "^documents  2$"
says bytes "1.0000 bytes per token"
tok bpe --train-vocab 340 --save-tokenizer "$dir/bpe.json" --separator '<cut>' --end '<end>' "$dir/a" "$dir/b"
says bpe "^tokenizer  340 tokens$"
says bpe "^documents  6$"
says bpe "^text       $all bytes$"
tok again --train-vocab 340 --separator '<cut>' --end '<end>' "$dir/a" "$dir/b"
cmp -s "$dir/bpe.h5" "$dir/again.h5" || fail "the same files give two stores"
tok loaded --tokenizer "$dir/bpe.json" --separator '<cut>' --end '<end>' "$dir/a" "$dir/b"
cmp -s "$dir/bpe.h5" "$dir/loaded.h5" || fail "a tokenizer that is loaded gives another store"
tok stopped --train-vocab 1000 "$dir/empty" "$dir/a-text"
says stopped "no pair is left that occurs twice"

# ---- Files of Windows: a separator ends with \r\n too, a byte order mark is no text ----
printf 'doc 1\n<cut>\ndoc 2\n<cut>\ndoc 3\n' >"$dir/lf"
sed 's/$/\r/' "$dir/lf" >"$dir/crlf"
{ printf '\357\273\277'; cat "$dir/lf"; } >"$dir/marked"
printf '\377\376d\000' >"$dir/utf16"
for text in lf crlf marked; do
    tok $text --separator '<cut>' "$dir/$text"
    says $text "^documents  3$"
done
cmp -s "$dir/lf.h5" "$dir/marked.h5" || fail "a byte order mark is taken for text"
says crlf "^text       21 bytes$" # the other line ends stay
tok none --separator '<CUT>' "$dir/lf"
says none "no line is exactly '<CUT>'"
grep -q note "$dir/lf.txt" && fail "a note where there are separators"
{ printf '\357\273\277'; sed 's/$/\r/' "$dir/bpe.json"; } >"$dir/windows.json"
tok windows --tokenizer "$dir/windows.json" "$dir/a"
tok plain --tokenizer "$dir/bpe.json" "$dir/a"
says windows "^tokens     $(sed -n 's/^tokens     \([0-9]*\),.*/\1/p' "$dir/plain.txt"),"

"$B/examples/train_lm" --layers 3 --print-config >"$dir/config"
{ printf '\357\273\277'; sed 's/$/\r/' "$dir/config"; } >"$dir/windows-config"
"$B/examples/train_lm" --config "$dir/windows-config" --print-config | cmp -s - "$dir/config" ||
    fail "a configuration of Windows is read as another"

# Nothing is learned from the documents that are held out: the store of all without the last is
# made by the same tokenizer.
head -c 400 "$dir/a-text" >"$dir/first"
tok held --train-vocab 280 --held-out 0.5 --save-tokenizer "$dir/held.json" "$dir/first" "$dir/b"
tok alone --train-vocab 280 --save-tokenizer "$dir/alone.json" "$dir/first"
cmp -s "$dir/held.json" "$dir/alone.json" || fail "held-out text has a part in the tokenizer"
tok most --train-vocab 280 --held-out 0.9 --save-tokenizer "$dir/most.json" "$dir/first" "$dir/b"
cmp -s "$dir/most.json" "$dir/alone.json" || fail "nothing is left to learn from, where training has a document"
cat "$dir/first" "$dir/first" >"$dir/twice"
tok half --train-vocab 280 --held-out 0.5 --save-tokenizer "$dir/half.json" "$dir/twice"
cmp -s "$dir/half.json" "$dir/alone.json" || fail "held-out text of one document has a part in the tokenizer"

# ---- The text comes back ----
if sh tests/support/has.sh h5py; then
    cat >"$dir/read.py" <<'END'
import sys, json, h5py
store = h5py.File(sys.argv[1])
tokens = store['tokens'][:].tolist()
if 'tokenizer' in store:
    own = [b for b in range(256) if 0x21 <= b <= 0x7e or 0xa1 <= b <= 0xac or b >= 0xae]
    byte = {chr(b): b for b in own}
    byte.update({chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in own)})
    file = json.loads(bytes(store['tokenizer'][:]))
    special = {t['id'] for t in file['added_tokens']}
    text = {i: b'' if i in special else bytes(byte[c] for c in t) for t, i in file['model']['vocab'].items()}
    assert store['tokens'].dtype.itemsize == 2
    assert [len(text[i]) for i in range(len(text))] == store['token_bytes'][:].tolist()
    offsets = store['offsets'][:].tolist()
    assert len(offsets) == 7 and all(tokens[o - 1] in special for o in offsets[1:])
else:
    text = {i: bytes([i]) for i in range(256)}
    assert store['tokens'].dtype.itemsize == 1
sys.stdout.buffer.write(b''.join(text[t] for t in tokens))
END
    cat "$dir/a" "$dir/b" >"$dir/expected-bytes"
    cat "$dir/a-text" "$dir/b" >"$dir/expected-bpe"
    for store in bytes bpe; do
        /usr/bin/python3 "$dir/read.py" "$dir/$store.h5" >"$dir/back" || fail "$store: h5py does not read the store"
        cmp "$dir/back" "$dir/expected-$store" || fail "$store: the text does not come back"
    done
else
    echo "note: no h5py; stores are not read by it"
fi

# ---- Special tokens around documents, and texts that a tokenizer changes ----
llama=tests/data/hf/fla_gdn/tokenizer.json
tok around --tokenizer $llama --special --separator '<cut>' "$dir/lf"
tok within --tokenizer $llama --separator '<cut>' "$dir/lf"
count() { sed -n 's/^tokens     \([0-9]*\),.*/\1/p' "$dir/$1.txt"; }
[ "$(count around)" = $(($(count within) + 3)) ] || fail "--special puts no token before each of 3 documents: $(count around)"
says within "this tokenizer changes texts"
grep -q "changes texts" "$dir/loaded.txt" && fail "a note about a tokenizer that changes nothing"
tok mark --tokenizer "$dir/bpe.json" "$dir/marked"
tok unmarked --tokenizer "$dir/bpe.json" "$dir/lf"
[ "$(count mark)" = $(($(count unmarked) + 3)) ] || fail "a byte order mark is no character of a text for a tokenizer.json"

# ---- The same tokens as Hugging Face's, where that is installed ----
if python3 -c 'import tokenizers, h5py' 2>/dev/null; then
    tok prose --tokenizer "$dir/bpe.json" "$dir/a"
    python3 - "$dir" <<'END' || fail "tokenizers has other tokens"
import sys, h5py, tokenizers
d = sys.argv[1]
ids = tokenizers.Tokenizer.from_file(d + '/bpe.json').encode(open(d + '/a', newline='').read()).ids
assert ids == h5py.File(d + '/prose.h5')['tokens'][:].tolist()
END
fi

# ---- What is refused ----
refuses() { # words arguments...
    words=$1
    shift
    if "$B/examples/tokenize" "$@" >"$dir/refused.txt" 2>&1; then fail "accepted: $*"; fi
    says refused "$words"
}
echo '{"version":"1.0","normalizer":{"type":"Lowercase"}}' >"$dir/lower.json"
no=$dir/no.h5
refuses "no FILE" --out "$no"
refuses "\-\-out is missing" "$dir/a"
refuses "no text" --out "$no" "$dir/empty"
refuses "No such file" --out "$no" "$dir/nothing"
refuses "one too many" --out "$no" --tokenizer "$dir/bpe.json" --train-vocab 300 "$dir/a"
refuses "whole number from 257" --out "$no" --train-vocab 256 "$dir/a"
refuses "nothing is learned" --out "$no" --save-tokenizer "$dir/x" "$dir/a"
refuses "nothing is learned" --out "$no" --held-out 0.1 "$dir/a"
refuses "number from 0 to below 1" --out "$no" --train-vocab 300 --held-out 1 "$dir/a"
refuses "no special tokens" --out "$no" --end x "$dir/a"
refuses "no added token 'x'" --out "$no" --end x --tokenizer "$dir/bpe.json" "$dir/a"
refuses "normalizer of type 'Lowercase' is not supported" --out "$no" --tokenizer "$dir/lower.json" "$dir/a"
refuses "only a tokenizer.json says" --out "$no" --special "$dir/a"
refuses "puts nothing around" --out "$no" --special --tokenizer "$dir/bpe.json" "$dir/a"
refuses "HDF5 file" --out "$no" "$dir/bpe.h5"
refuses "byte order mark of UTF-16" --out "$no" "$dir/utf16"
refuses "one line is wanted" --out "$no" --separator "$(printf 'a\rb')" "$dir/a"
refuses "it is empty" --out "$no" --tokenizer "$dir/empty" "$dir/a"
refuses "No such file" --out "$no" --tokenizer "$dir/nothing" "$dir/a"
[ -e "$no" ] && fail "a store was left by a refused call"
"$B/examples/tokenize" --help >"$dir/help.txt"
says help "train-vocab"

[ $failed = 0 ] && echo "tokenize keeps its promises"
exit $failed
