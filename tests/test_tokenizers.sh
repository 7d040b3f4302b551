#!/bin/sh
# test_tokenizers.sh - tokens and texts of drawn tokenizer.json files are those of Hugging Face's `tokenizers`. Where that
# is not installed nothing is compared; test_bpe_same.c has what it made of some of these files.
set -u
B=${B:-build}
python3 -c 'import tokenizers' 2>/dev/null || {
    echo "note: no tokenizers; drawn files are not compared"
    exit 0
}
# A sanitizer's library cannot be loaded into Python.
[ -z "${SAN:-}" ] || exit 0
# A build without BPE or utf8proc refuses most of what is drawn.
grep -q -e 'utf8proc' -e 'byte-level BPE' "$B/left-out" 2>/dev/null && exit 0
RUST_BACKTRACE=0 python3 -B tests/against_tokenizers.py "$B/libpalimpsest.so" --files 200 2>"$B/against_tokenizers.err" || {
    tail -n 5 "$B/against_tokenizers.err"
    exit 1
}
