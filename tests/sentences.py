"""sentences.py - finds sentences of README, docs and the course that are too long to be read at once.

    python3 tests/sentences.py [FILE ...]      all of them; prints FILE:LINE, the number of words, and the sentence

CONTRIBUTING asks for at most about 25 words: so many in the course, README and CONTRIBUTING, and 30 elsewhere. An item of a list, a cell
of a table and what stands in brackets are read as sentences of their own. Code, equations, addresses of links, numbers and
headings are not counted.
"""

import glob
import re
import sys

MOST, MOST_OF_COURSE = 30, 25
END = re.compile(r"(?:(?<=[\w|>)\]\"'`*$%][.!?])|(?<=[;:])(?=\s+[A-Z]))[\"')\]*_]*\s+")
SHORT = re.compile(r"\b(?:e\.g|i\.e|et al|vs|etc|cf|No|Fig|St)\.$")


def blocks(text):
    """(number of the first line, text) of each paragraph, item and cell."""
    line, first, words, fence = 0, 0, [], False
    for line, row in enumerate(text.split("\n") + [""], 1):
        if row.startswith("```"):
            fence = not fence
        code = fence or row.startswith("```") or (row.startswith("    ") and not words)
        heading = row.startswith("#") or row.startswith("![")
        item = re.match(r"\s*(?:[-*]|\d+\.)\s+(.*)", row)
        if words and (code or heading or item or not row.strip() or row.startswith("|")):
            yield first, " ".join(words)
            words = []
        if code or heading or not row.strip():
            continue
        if row.startswith("|"):
            for cell in re.split(r"(?<!\\)\|", row)[1:-1]:
                yield line, cell.strip()
            continue
        if not words:
            first = line
        words.append(item.group(1) if item else row.strip())
    if words:
        yield first, " ".join(words)


def plain(text):
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"``? ?[^`]+ ?``?", "CODE", text)
    text = re.sub(r"\$[^$]*\$", "FORMULA", text)
    return re.sub(r"<!--.*?-->", "", text)


def sentences(text):
    # What stands in brackets is read apart.
    yield from re.findall(r"\(([^()]* [^()]*)\)", text)
    text = re.sub(r"\s*\([^()]* [^()]*\)", "", text)
    start = 0
    for m in END.finditer(text):
        before = text[start:m.start()]
        if not SHORT.search(before):
            yield before
            start = m.end()
    yield text[start:]


def words(sentence):
    """Numbers, and signs such as = and ->, are no words."""
    return [w for w in sentence.split() if re.search(r"[A-Za-z]", w)]


def long_ones(path):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    most = MOST_OF_COURSE if re.match(r"README|CONTRIBUTING|docs/(course/|teaching|inspect)", path) else MOST
    for line, block in blocks(text):
        for sentence in sentences(plain(block)):
            count = len(words(sentence))
            if count > most:
                yield line, count, sentence


def main():
    files = sys.argv[1:] or ["README.md", "CONTRIBUTING.md"] + sorted(glob.glob("docs/*.md") + glob.glob("docs/course/**/*.md", recursive=True))
    bad = 0
    for path in files:
        for line, count, sentence in long_ones(path):
            print(f"{path}:{line}: {count} words: {sentence}")
            bad += 1
    print(f"{len(files)} files, {bad} sentences too long")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
