#!/bin/sh
# test_sentences.sh - README, docs and course have no sentence that is too long (tests/sentences.py), and that is noticed.
set -u
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -B tests/sentences.py >"$dir/out" || {
    cat "$dir/out"
    exit 1
}
words() { # NUMBER: so many words of which the last ends the sentence
    awk -v n="$1" 'BEGIN { for (i = 1; i < n; i++) printf "word "; print "word." }'
}
failed=0
finds() { # HOW-MANY TEXT
    printf '%s\n' "$2" >"$dir/page.md"
    python3 -B tests/sentences.py "$dir/page.md" >"$dir/out"
    grep -q " $1 sentences too long" "$dir/out" || {
        echo "FAIL: not $1 long sentences: $2: $(cat "$dir/out")"
        failed=1
    }
}
finds 0 "$(words 30)"
finds 1 "$(words 31)"
finds 0 "$(words 20) $(words 20) And see (as [here](page.md)) more. $(words 20)"
finds 1 "- $(words 20)
- $(words 31)"
finds 1 "| a | $(words 31) |"
finds 0 "\`\`\`c
$(words 40)
\`\`\`"
finds 1 "A word ($(words 31))."
finds 0 "\$ $(words 40)\$"
[ $failed = 0 ] && tail -n 1 "$dir/out" >/dev/null && echo "no sentence is too long"
exit $failed
