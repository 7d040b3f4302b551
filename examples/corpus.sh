#!/bin/sh
# corpus.sh - a text to train on, from Debian's documentation, in build/debian.txt.
#
#     ./deps.sh --corpus && sh examples/corpus.sh
#     build/examples/tokenize --separator '<|endoftext|>' ... build/debian.txt
#
# Sources of the documentation of Python, Perl, Git and Debian: prose and code examples in English,
# with little markup. Left out is what stands in other files once more. Each file is a document, ended
# by the line <|endoftext|>. They come in the order of the SHA-256 of their names, so that the last
# twentieth of them, which is held out for validation, is a sample of all; the same packages make the
# same bytes. That part is in build/debian-held-out.txt too, without the lines between documents.
set -eu
from=${1:-build/debian-doc}
to=${2:-build/debian.txt}
LC_ALL=C
export LC_ALL

if [ ! -f "$from/packages" ]; then
    echo "corpus.sh: $from is not there: run ./deps.sh --corpus first" >&2
    exit 1
fi
held_out=${to%.txt}-held-out.txt
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM

# perldelta is the newest of the perl*delta; perltoc repeats headings, perluniprops is a table. Of
# Debian's own manuals there are .txt.gz beside the sources, but for the reference.
(cd "$from" && find . -type f \( -name '*.rst.txt' -o -name '*.pod' -o -path './git-doc/*.txt' -o \
    -name 'debian-reference.en.txt.gz' \) ! -name perldelta.pod ! -name perltoc.pod ! -name perluniprops.pod) |
    sort >"$dir/names"
while read -r name; do
    echo "$(printf %s "$name" | sha256sum | cut -c1-64) $name"
done <"$dir/names" | sort | cut -d' ' -f2- >"$dir/order"

all=$(wc -l <"$dir/order")
held=$(((all * 5 + 50) / 100)) # to the nearest number, as pal_batches_new takes them
if [ "$held" -lt 1 ]; then
    echo "corpus.sh: $all documents in $from are too few" >&2
    exit 1
fi
: >"$dir/text"
: >"$dir/held"
number=0
while read -r name; do
    number=$((number + 1))
    case $name in
    *.gz) gzip -dc "$from/$name" ;;
    *) cat "$from/$name" ;;
    esac | awk 1 >"$dir/document" # the last line ended by a newline
    cat "$dir/document" >>"$dir/text"
    echo '<|endoftext|>' >>"$dir/text"
    if [ $number -gt $((all - held)) ]; then cat "$dir/document" >>"$dir/held"; fi
done <"$dir/order"
mkdir -p "$(dirname "$to")"
mv "$dir/text" "$to"
mv "$dir/held" "$held_out"

sed 's/^/package    /' "$from/packages"
echo "documents  $all, the last $held held out"
echo "$to  $(wc -c <"$to") bytes, sha256 $(sha256sum "$to" | cut -c1-64)"
echo "$held_out  $(wc -c <"$held_out") bytes, sha256 $(sha256sum "$held_out" | cut -c1-64)"
if command -v xz >/dev/null 2>&1; then
    echo "           $(gzip -9c "$held_out" | wc -c) by gzip -9, $(xz -9ec "$held_out" | wc -c) by xz -9e"
else
    echo "           $(gzip -9c "$held_out" | wc -c) by gzip -9"
fi
