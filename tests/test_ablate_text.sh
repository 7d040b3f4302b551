#!/bin/sh
# test_ablate_text.sh - a text as the task of a study: bits that fall, by position too, the same for one process and two; the
# differences that a study tells, against SciPy where that is there (HF_PYTHON names a Python that has it); and all of it again from runs.txt, without the text.
. tests/support/ablate.sh

"$B/examples/tokenize" --train-vocab 300 --held-out 0.2 --out "$dir/text.h5" README.md >"$dir/tokenize.log" 2>&1 ||
    fail "tokenize: $(cat "$dir/tokenize.log")"
cat >"$dir/text.study" <<END
title = A text
task = corpus:store=$dir/text.h5:held_out=0.2:len=32:test_len=32,64:positions=4,16
layers = 1
width = 16
mlp = match
match = 3%
steps = 12
batch = 4
every = 6
lr = 1e-2
rows = 16
seeds = 1, 2, 3
compare = all
variant.gdn2 = gdn2:num_heads=1:head_dim=8
variant.kda = kda:num_heads=1:head_dim=8:output_gate=silu
variant.gdn = gdn:num_heads=1:head_dim=8:expand_v=1
END
works text "$dir/text.study" --jobs 2
says text '^\[9/9\] corpus-.* bits [0-9.]*, 12 steps'
says text ', about [0-9]* s left$'
says text '^| kda | gdn2 | .* | paired, n = 3 | '
grep -q 'core-hours' "$dir/text/made.md" || fail "made.md: $(cat "$dir/text/made.md")"
# Of each length the parts have as many bytes as the whole, and their nats are its nats.
awk -F, 'NR > 1 { key = $2 " " $3 " " $5; if ($4 ~ /^length/) { bytes[key] = $10; nats[key] = $9 * $10 } else { b[key] += $10; n[key] += $9 * $10 } }
    END { for (k in bytes) { all++; if (b[k] != bytes[k] || (n[k] - nats[k])^2 > 1e-6 * nats[k]^2) bad = 1 } exit bad || all != 18 }' \
    "$dir/text/results.csv" || fail "parts are not the whole: $(cat "$dir/text/results.csv")"
# 12 steps have learned something: less than the 8 bits of a byte, and less than the look before.
awk -F, 'NR > 1 { if ($4 == 6) before = $6; else if (!($6 < before && $6 < 8)) bad = 1 } END { exit bad }' "$dir/text/curves.csv" ||
    fail "nothing was learned: $(cat "$dir/text/curves.csv")"
if command -v gnuplot >/dev/null; then
    [ "$(grep -c 'rotate(-30' "$dir/text/accuracy-corpus.svg")" = 8 ] || fail "long names are not turned"
    sed 's/:test_len=32,64:positions=4,16/:test_len=64:positions=16/' "$dir/text.study" >"$dir/short.study"
    works short "$dir/short.study" --jobs 2 # length 64, 64: 0-15 and 64: 16-63
    [ "$(grep -c 'rotate(-30' "$dir/short/accuracy-corpus.svg")" = 0 ] || fail "names that have room are turned"
    # Both looks of three curves, and the key's three.
    [ "$(grep -c "#gpPt[0-9]*' transform" "$dir/text/curves-corpus.svg")" = 9 ] || fail "a look lies outside"
fi

# ---- From runs.txt, without the text ----
mv "$dir/text.h5" "$dir/away.h5"
sum=$(sed -n 's/.*:checksum=\([0-9a-f]*\):.*/\1/p' "$dir/text/runs/corpus-kda-1.txt" | head -n 1)
sed "s|text.h5:|text.h5:checksum=$sum:vocab=300:|" "$dir/text.study" >"$dir/again.study"
works again "$dir/again.study" --from "$dir/text/runs.txt"
for f in results.csv curves.csv comparisons.csv table.md table.tex runs.txt made.md results.h5 curves-corpus.svg; do
    case $f in *.svg) command -v gnuplot >/dev/null || continue ;; esac
    cmp -s "$dir/text/$f" "$dir/again/$f" || fail "$f is another one from runs.txt"
done
# The file of runs says checksum and vocabulary for a study that does not.
cp "$dir/text.study" "$dir/plain.study"
works plain "$dir/plain.study" --from "$dir/text/runs.txt"
cmp -s "$dir/text/results.csv" "$dir/plain/results.csv" || fail "results.csv is another one without checksum and vocab"
sed 's|text.h5:|other.h5:|' "$dir/text.study" >"$dir/other.study"
if ablate gone "$dir/other.study" --from "$dir/text/runs.txt"; then fail "runs of another store were taken"; fi
says gone 'other.h5'
head -c 2000 "$dir/text/runs.txt" >"$dir/half.txt"
if ablate half "$dir/again.study" --from "$dir/half.txt"; then fail "half a runs.txt was taken"; fi
says half 'it is no file of runs, or it is not whole'
if ablate gone "$dir/again.study"; then fail "runs without a text"; fi
says gone 'there is no file'
if ablate gone "$dir/text.study" --list; then fail "a store that is gone"; fi
mv "$dir/away.h5" "$dir/text.h5"
if ablate gone "$dir/again.study" --from "$dir/text/runs.txt" --smoke; then fail "--from with --smoke"; fi

# ---- Mistakes ----
wrong() { # words, sed
    sed "$2" "$dir/text.study" >"$dir/wrong.study"
    if ablate wrong "$dir/wrong.study" --list; then fail "accepted: $2"; fi
    says wrong "$1"
}
wrong 'line 2: task corpus: .* has the checksum .*, and 00000000 is asked for' 's/text.h5:/text.h5:checksum=00000000:/'
wrong 'line 2: task corpus: positions should increase, and 3 follows 4' 's/=4,16/=4,3/'
wrong 'line 2: task corpus: what is held out has no window of 60000 tokens' 's/=32,64/=32,60000/'
wrong 'line 2: task corpus: it needs store=FILE' 's/store=[^:]*:/vocab=300:/'
wrong 'line 1: a study of a text has no other tasks' 's/^title.*/task = parity/'
wrong 'line 8: enough is an accuracy' 's/^batch.*/enough = 0.5/'
wrong 'compare=mamba2 should be first, all or the name of a variant' 's/^compare.*/compare = mamba2/'

# ---- Numbers ----
python=$(for p in ${HF_PYTHON:-} python3 /usr/bin/python3; do "$p" -c 'import scipy' 2>/dev/null && echo "$p" && break; done)
if [ "$python" ]; then
    "$python" -B tests/against_scipy.py "$dir/text" >"$dir/scipy.log" 2>&1 || fail "SciPy: $(cat "$dir/scipy.log")"
else
    echo "note: no SciPy; differences are not compared with it"
fi

[ $failed = 0 ] && echo "a text is a task"
exit $failed
