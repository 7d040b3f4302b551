#!/bin/sh
# test_left_out.sh - a build without an optional package says which one was missing, by one sentence,
# where a folder of a released model needs it. Without a mandatory one make ends with one sentence.
set -u
B=${B:-build}
said=$(mktemp)
bin=$(mktemp -d)
trap 'rm -rf "$said" "$bin"' EXIT
failed=0
hf=tests/data/hf
refuses() { # words command...
    words=$1
    shift
    if "$@" >"$said" 2>&1; then
        echo "FAIL: $* was accepted"
        failed=1
    fi
    grep -qF -e "$words" "$said" || {
        echo "FAIL: $*: no word of $words: $(cat "$said")"
        failed=1
    }
}
without=$(cat "$B/left-out" 2>/dev/null)
case $without in
*"byte-level BPE"*)
    refuses "built without cJSON or PCRE2" "$B/examples/generate" $hf/mamba2 Hello
    refuses "built without cJSON or PCRE2" "$B/examples/train_lm" --init $hf/mamba2 --data README.md --out "$said.run"
    refuses "since cJSON or PCRE2 was missing" "$B/examples/tokenize" --tokenizer $hf/granite4h --out "$said.h5" README.md
    ;;
*utf8proc*)
    refuses "normalizer NFC is not in this build, since utf8proc was missing" "$B/examples/generate" $hf/qwen3_5 Hello
    "$B/examples/generate" $hf/granite4h Hello --tokens 2 >"$said" 2>&1 || {
        echo "FAIL: a tokenizer without NFC: $(cat "$said")"
        failed=1
    }
    ;;
esac

# A machine with neither pkg-config nor a compiler: programs that make calls are there, and no others.
for program in sh make cat cmp echo env git grep head mkdir sed sort tr uname wc; do
    path=$(command -v "$program") && case $path in /*) ln -s "$path" "$bin/$program" ;; esac
done
PATH=$bin MAKELEVEL= MAKEFLAGS= make --no-print-directory B="$bin/none" >"$said" 2>&1 && {
    echo "FAIL: make passes without a compiler and pkg-config"
    failed=1
}
[ "$(wc -l <"$said")" = 1 ] && grep -q 'Missing: a C compiler \[gcc\], pkg-config \[pkg-config\].*; ./deps.sh installs it' "$said" || {
    echo "FAIL: not one sentence about what is missing: $(cat "$said")"
    failed=1
}
exit $failed
