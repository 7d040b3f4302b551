#!/bin/sh
# test_patterns.sh - a pattern of tokenizer.json (pal_tokenizer_load) cuts text as Hugging Face's
# `tokenizers` does. Where that is not installed nothing is compared; test_bpe_patterns.c has cuts
# that were worked out by hand.
set -u
B=${B:-build}
python3 -c 'import tokenizers, h5py' 2>/dev/null || {
    echo "note: no tokenizers, or no h5py; patterns are not compared"
    exit 0
}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
cat >"$dir/compare.py" <<'END'
import itertools, random, subprocess, sys
import h5py
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
tokenize, folder = sys.argv[1:]

contraction = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
patterns = [
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    contraction + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+" + contraction +
    r"?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*" + contraction +
    r"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"\s+(?!\S)|\s+|\S+", r"\w+|[^\w\s]+", r"[\w]", r"\W", r"\w", r"\b", r"\B", r"[\s]+|[^\s]", r"[\S]", r"[^\S]+", r"\d+|\D",
    r"[[:space:]]", r"[^[:digit:]]+", r"\h+", r"\H", r"[\hx]", r"\v", r"[\v\f]", r"\u180e|\x{b2}|\x41", r"\p{White_Space}",
    r"\P{White_Space}+", r"[\P{White_Space}]+", r"\p{^L}", r"\P{^L}", r"[\p{Han}a]+", r"\p{Latin}+", r"\P{Greek}",
    r"(?i)a|k", r"(?i:s)|x", r"(?-i:a)", r"a++b|a*?b", r"a{2}|b{1,}|\s{1,2}", r"^.|.$", r"\A.|.\z", r"(?<=a)b|(?<!a)b",
    r"(?>a+)b|(a|b)\n", r"[a-z&]|[\]\[]", r"\.|\-|\ |\_", r"(?=b)", r"x*",
]
# Characters about which libraries differ, and others for company.
letters = list("aabbsStTkxA19_'!-.&[] \t\n\r\f\v") + [chr(c) for c in (
    0x1c, 0x1f, 0x85, 0xa0, 0xb2, 0xbc, 0xdf, 0xe9, 0x130, 0x17f, 0x1c5, 0x301, 0x345, 0x3a3, 0x3c2, 0x903, 0x9f4, 0x180e,
    0x1680, 0x2000, 0x200b, 0x200d, 0x2028, 0x202f, 0x203f, 0x205f, 0x2060, 0x2070, 0x2160, 0x24b6, 0x3000, 0x3001, 0x3007,
    0x4e00, 0xac00, 0xfb01, 0xfeff, 0xff10, 0xff3f, 0x1f130, 0x1f600)]
draw = random.Random(3)
text = ''.join(draw.choice(letters) for _ in range(60000))
for size in (1, 2, 3, 5):
    text += ''.join(c * size + 'a ' for c in letters)
with open(folder + '/text', 'w', newline='') as f:
    f.write(text)

# Merges without a pattern: they join whatever stands side by side, so that every other cut shows.
byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
t = Tokenizer(models.BPE())
t.pre_tokenizer = byte_level
t.train_from_iterator([''.join(draw.choice(letters) for _ in range(40)) for _ in range(20000)] + [text[i:i + 50] for i in range(0, len(text), 50)],
                      trainers.BpeTrainer(vocab_size=4000, show_progress=False,
                                          initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
t.decoder = decoders.ByteLevel()
bad = 0
for p in patterns:
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(p), 'isolated'), byte_level])
    t.save(folder + '/t.json')
    r = subprocess.run([tokenize, '--tokenizer', folder + '/t.json', '--out', folder + '/t.h5', folder + '/text'],
                       capture_output=True, text=True)
    if r.returncode:
        bad = 1
        print('FAIL: refused:', p, r.stderr)
        continue
    with h5py.File(folder + '/t.h5') as f:
        ours = f['tokens'][:].tolist()
    theirs = t.encode(text).ids
    if ours != theirs:
        bad = 1
        at = next(i for i, (a, b) in enumerate(itertools.zip_longest(ours, theirs)) if a != b)
        print('FAIL:', p, 'token', at, [t.id_to_token(i) for i in ours[at - 2:at + 4] if i is not None],
              [t.id_to_token(i) for i in theirs[at - 2:at + 4]])
print(len(patterns), 'patterns cut', len(text), 'characters alike' if not bad else 'characters, not all of them alike')
sys.exit(bad)
END
python3 "$dir/compare.py" "$B/examples/tokenize" "$dir"
