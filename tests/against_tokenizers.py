"""against_tokenizers.py LIBRARY [--seed N] [--files N]    our tokenizer against Hugging Face's `tokenizers`
   against_tokenizers.py --write FILE             what `tokenizers` makes of some files, for test_tokenizers.c

Draws tokenizer.json files that combine all that pal_tokenizer_load takes, texts and tokens, and compares ids and decoded
text. Our library is a shared object, called by ctypes.
"""

import argparse
import ctypes
import json
import os
import random
import sys

from tokenizers import Tokenizer, __version__

PATTERNS = [r"\s+", r"\p{L}+", r"\p{N}{1,3}", r"\s+(?!\S)|\s+|\S+", r"(?i:'s|'t)|\p{L}+|[^\p{L}]", r"a|b", r"x*", r"(?=b)",
            r" ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", r"[a-z]", r"\w+|[^\w\s]+", r"[一-龥]+"]
STRINGS = [" ", "▁", "a", "ab", ".", "  ", "é"]
BEHAVIORS = ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
SPECIALS = ["<s>", "</s>", "<unk>", "<|end|>", "<0x0A>", "<0xE4>", "ab", "  ", "é", "e\u0301", "the", "▁x", "a b", " <m>"]
LETTERS = list("aabbeht  .,!'\"-_19A\n\t\r<>|▁▁sS") + [chr(c) for c in (
    0xa0, 0x85, 0xe9, 0x301, 0x300, 0x323, 0x212b, 0xfb01, 0x3000, 0x4e2d, 0x6587, 0xac00, 0x1100, 0x1161, 0x11a8, 0x180e, 0x200b,
    0x200d, 0x2028, 0x1f600, 0xb2, 0xbd, 0x660, 0x2160, 0x24b6, 0xff21, 0x345, 0x1e9b, 0xfeff, 0x5b0, 0x5c1, 0xfffd, 0x2019, 0x24,
    0x2b, 0xa1, 0xb7, 0x3001)]


def alphabet():
    own = [b for b in range(256) if 0x21 <= b <= 0x7e or 0xa1 <= b <= 0xac or b >= 0xae]
    spelled = {b: chr(b) for b in own}
    spelled.update((b, chr(256 + i)) for i, b in enumerate(b for b in range(256) if b not in own))
    return [spelled[b] for b in range(256)]


class Maker:
    """Files, texts and tokens that follow from a seed."""

    def __init__(self, seed):
        self.r = random.Random(seed)

    def often(self, share):
        return self.r.random() < share

    def text(self, size=None):
        size = self.r.choice([0, 1, 2, 5, 12, 40]) if size is None else size
        return "".join(self.r.choice(LETTERS if self.often(.85) else SPECIALS) for _ in range(size))

    def pattern(self):
        return {"Regex": self.r.choice(PATTERNS)} if self.often(.7) else {"String": self.r.choice(STRINGS)}

    def metaspace(self):
        return {"type": "Metaspace", "replacement": self.r.choice("▁▁_"), "prepend_scheme": self.r.choice(["always", "first", "never"]),
                "split": self.often(.5)}

    def pretokenizer(self):
        x = self.r.random()
        if x < .4:
            return {"type": "Split", "pattern": self.pattern(), "behavior": self.r.choice(BEHAVIORS), "invert": self.often(.3)}
        if x < .55:
            return {"type": "Digits", "individual_digits": self.often(.5)}
        if x < .75:
            return {"type": "Punctuation", "behavior": self.r.choice(BEHAVIORS)}
        return self.metaspace()

    def normalizer(self):
        x = self.r.random()
        if x < .35:
            return {"type": self.r.choice(["NFC", "NFC", "NFD", "NFKC", "NFKD"])}
        if x < .55:
            return {"type": "Prepend", "prepend": self.r.choice(["▁", " ", "x"])}
        if x < .85:
            return {"type": "Replace", "pattern": self.pattern() if self.often(.6) else {"String": " "},
                    "content": self.r.choice(["▁", " ", "", "xy"])}
        return {"type": "Strip", "strip_left": self.often(.5), "strip_right": self.often(.5)}

    def added(self, vocab):
        out, free = [], len(vocab)
        for text in self.r.sample(SPECIALS, self.r.randint(0, 6)):
            if text in vocab and self.often(.5):
                continue
            number = vocab.get(text, free)
            free += text not in vocab
            out.append({"id": number, "content": text, "single_word": self.often(.2), "lstrip": self.often(.2),
                        "rstrip": self.often(.2), "normalized": self.often(.4), "special": self.often(.5)})
        return out

    def vocabulary(self, by_bytes):
        if by_bytes:
            tokens, family = alphabet(), [alphabet()[b] for b in b"abeht .,'19\n"]
        else:
            tokens = ["<unk>"] if self.often(.7) else []
            full = self.often(.8)
            tokens += ["<s>", "</s>"] + ["<0x%02X>" % b for b in range(256) if full or self.often(.5)]
            tokens += self.r.sample(sorted(set(LETTERS)), self.r.randint(5, len(set(LETTERS))))
            family = [c for c in "abeht▁ .s" if c in tokens]
        merges = []
        for _ in range(self.r.randint(0, 40) if family else 0):
            pair = [self.r.choice(family), self.r.choice(family)]
            if pair not in merges and len("".join(pair)) <= 8:
                merges.append(pair)
                tokens.append("".join(pair))
                family.append("".join(pair))
        return {t: i for i, t in enumerate(dict.fromkeys(tokens))}, merges

    def decoder(self):
        replace = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
        fallback, fuse = {"type": "ByteFallback"}, {"type": "Fuse"}
        strip = {"type": "Strip", "content": self.r.choice([" ", "a"]), "start": self.r.choice([0, 1, 2]), "stop": 0}
        each = {"type": "Strip", "content": self.r.choice(["a", "▁"]), "start": self.r.choice([0, 1, 2]), "stop": self.r.choice([0, 1, 2])}
        x = self.r.random()
        decoders = ([replace, fallback, fuse, strip] if x < .5 else [replace, fallback, fuse] if x < .7 else
                    [self.metaspace(), fallback] if x < .8 else [each, replace, fallback] if x < .9 else [fallback, fuse])
        return {"type": "Sequence", "decoders": decoders}

    def post_processor(self, added):
        if not added or self.often(.4):
            return None
        first, last = self.r.choice(added), self.r.choice(added)
        special = lambda t: {"SpecialToken": {"id": t["content"], "type_id": 0}}
        template = {"type": "TemplateProcessing",
                    "single": [special(first)] * self.often(.8) + [{"Sequence": {"id": "A", "type_id": 0}}] + [special(last)] * self.often(.5),
                    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                    "special_tokens": {t["content"]: {"id": t["content"], "ids": [t["id"]], "tokens": [t["content"]]} for t in (first, last)}}
        places = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
        return {"type": "Sequence", "processors": [places, template]} if self.often(.4) else template

    def file(self):
        by_bytes = self.often(.5)
        vocab, merges = self.vocabulary(by_bytes)
        added = self.added(vocab) if self.often(.6) else []
        x = self.r.random()
        normalizer = None if x < .4 else self.normalizer() if x < .6 else {
            "type": "Sequence", "normalizers": [self.normalizer() for _ in range(self.r.randint(0, 3))]}
        pre = [self.pretokenizer() for _ in range(self.r.choice([0, 0, 1, 2]))]
        decoder = self.decoder()
        if by_bytes:
            level = {"type": "ByteLevel", "add_prefix_space": self.often(.3), "trim_offsets": True, "use_regex": self.often(.5)}
            behind = [self.pretokenizer() for _ in range(self.r.choice([0, 0, 0, 1, 2]))]
            pre += [level] + [p for p in behind if p["type"] != "Metaspace"]
            decoder = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
        pre = None if not pre else pre[0] if len(pre) == 1 else {"type": "Sequence", "pretokenizers": pre}
        model = {"type": "BPE", "dropout": None, "unk_token": "<unk>" if "<unk>" in vocab and self.often(.9) else None,
                 "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": self.often(.5),
                 "byte_fallback": not by_bytes and self.often(.8), "ignore_merges": self.often(.3), "vocab": vocab, "merges": merges}
        return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": normalizer,
                "pre_tokenizer": pre, "post_processor": self.post_processor(added), "decoder": decoder, "model": model}


def own_choice(file, ids):
    """Whether our text is another by intention: added tokens stand for their content, whether the normalizer or the
    alphabet of bytes would make something else of it or not."""
    odd = [t["id"] for t in file["added_tokens"] if (t["normalized"] and file["normalizer"]) or
           (file["decoder"]["type"] == "ByteLevel" and not t["content"].isascii())]
    return bool(set(odd) & set(ids))


def unless_panic(call):
    """What `tokenizers` returns; None if it refuses or panics, which is no Exception."""
    try:
        return call()
    except KeyboardInterrupt:
        raise
    except BaseException:
        return None


def read_by_theirs(file):
    return unless_panic(lambda: Tokenizer.from_str(json.dumps(file)))


def cases(maker, file, theirs, count):
    """(text, special, ids) and (ids, special, text) as `tokenizers` has them."""
    most = max([*file["model"]["vocab"].values(), *(t["id"] for t in file["added_tokens"])]) + 1
    encoded, decoded = [], []
    for i in range(count):
        text, special = maker.text(), maker.often(.5)
        ids = unless_panic(lambda: theirs.encode(text, add_special_tokens=special).ids)
        if ids is None:
            continue
        encoded.append((text, special, ids))
        if i % 2:
            ids = [maker.r.randrange(most) for _ in range(maker.r.choice([0, 1, 2, 6, 20]))]
        special = maker.often(.5)
        back = unless_panic(lambda: theirs.decode(ids, skip_special_tokens=not special))
        if back is not None and not own_choice(file, ids):
            decoded.append((ids, special, back))
    return encoded, decoded


def ambiguous(file, theirs):
    """Whether two added tokens are one text after the normalizer; `tokenizers` then takes one by chance."""
    looked_for = [theirs.normalizer.normalize_str(t["content"]) if theirs.normalizer else t["content"]
                  for t in file["added_tokens"] if t["normalized"]]
    return len(set(looked_for)) < len(looked_for)


def write(path):
    """Files whose vocabulary begins with the 256 bytes are written without these."""
    maker, out = Maker(20), []
    while len(out) < 36:
        file = maker.file()
        theirs = read_by_theirs(file)
        if not theirs:
            continue
        if ambiguous(file, theirs):
            continue
        encoded, decoded = cases(maker, file, theirs, 5)
        by_bytes = file["decoder"]["type"] == "ByteLevel"
        if by_bytes and any(t["id"] < 256 for t in file["added_tokens"]):
            continue  # the token of a byte is that of a text, so that it is refused
        if by_bytes:
            file["model"]["vocab"] = {t: i for t, i in file["model"]["vocab"].items() if i >= 256}
        elif not file["model"]["unk_token"] and not (
                file["model"]["byte_fallback"] and all("<0x%02X>" % b in file["model"]["vocab"] for b in range(256))):
            continue  # characters may be lost there, so that it is refused
        out.append({"bytes": by_bytes, "file": file, "encode": encoded,
                    "decode": [d for d in decoded if "\0" not in d[2]]})  # which no string of C has
    with open(path, "w", encoding="utf-8") as to:
        to.write('{"made": "by tests/against_tokenizers.py --write, with tokenizers %s", "cases": [\n' % __version__)
        to.write(",\n".join(json.dumps(c, ensure_ascii=True, separators=(",", ":")) for c in out))
        to.write("\n]}\n")


class Error(ctypes.Structure):
    _fields_ = [("status", ctypes.c_int), ("message", ctypes.c_char * 1024)]


class Ids(ctypes.Structure):
    _fields_ = [("id", ctypes.POINTER(ctypes.c_int64)), ("count", ctypes.c_int64), ("room", ctypes.c_int64)]


class Encode(ctypes.Structure):
    _fields_ = [("begin", ctypes.c_bool), ("end", ctypes.c_bool), ("plain", ctypes.c_bool)]


class Refused(Exception):
    pass


class Ours:
    def __init__(self, library, file):
        self.library, self.own, error = library, ctypes.c_void_p(), Error()
        text = json.dumps(file).encode()
        self.check(library.pal_tokenizer_load(ctypes.byref(self.own), text, ctypes.c_int64(len(text)), ctypes.byref(error)), error)

    def check(self, status, error):
        if status:
            raise Refused(error.message.decode())

    def encode(self, text, special):
        ids, error, text = Ids(), Error(), text.encode()
        how = Encode(special, special, False)
        self.check(self.library.pal_tokenizer_encode_with(self.own, text, ctypes.c_int64(len(text)), how, ctypes.byref(ids),
                                                          ctypes.byref(error)), error)
        out = ids.id[:ids.count]
        self.library.pal_token_ids_free(ctypes.byref(ids))
        return out

    def decode(self, ids, special):
        text, size, error = ctypes.c_void_p(), ctypes.c_int64(), Error()
        array = (ctypes.c_int64 * len(ids))(*ids)
        self.check(self.library.pal_tokenizer_text_of(self.own, array, ctypes.c_int64(len(ids)), ctypes.c_bool(special),
                                                      ctypes.byref(text), ctypes.byref(size), ctypes.byref(error)), error)
        out = ctypes.string_at(text, size.value).decode()
        ctypes.CDLL(None).free(text)
        return out

    def close(self):
        self.library.pal_tokenizer_free(self.own)


def compare(path, seed, files):
    library, maker = ctypes.CDLL(os.path.abspath(path)), Maker(seed)
    loaded, texts, refused = 0, 0, {}
    for number in range(files):
        file = maker.file()
        theirs = read_by_theirs(file)
        if not theirs:
            continue
        encoded, decoded = cases(maker, file, theirs, 12)
        try:
            ours = Ours(library, file)
        except Refused as why:
            refused[str(why)[:80]] = refused.get(str(why)[:80], 0) + 1
            continue
        loaded += 1
        for given, special, wanted in encoded + decoded:
            got = (ours.encode if isinstance(given, str) else ours.decode)(given, special)
            texts += 1
            if got != wanted:
                file["model"]["vocab"] = len(file["model"]["vocab"])
                print(f"FAIL: file {number} of seed {seed}: {given!r} special {special}\n  ours   {got!r}\n  theirs {wanted!r}\n  {file}")
                return 1
        ours.close()
    for why, count in refused.items():
        print(f"  {count} refused: {why}")
    print(f"{loaded} tokenizers, {texts} texts: the same as tokenizers {__version__}")
    return loaded == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", nargs="?")
    parser.add_argument("--write")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--files", type=int, default=100)
    o = parser.parse_args()
    if o.write:
        write(o.write)
        return 0
    return compare(o.library, o.seed, o.files)


if __name__ == "__main__":
    sys.exit(main())
