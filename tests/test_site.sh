#!/bin/sh
# test_site.sh - the site of the course is made: one page here, every page with PAL_TEST_ALL=1. Then a headless Chromium finds
# nothing wrong with the pages (tests/site_pages.py). Builds that have to fail do.
set -u
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
failed=0

fail() {
    echo "FAIL: $*"
    failed=1
}
if ! command -v pandoc >/dev/null 2>&1; then
    [ "${PAL_TEST_ALL:-0}" = 1 ] && fail "no pandoc: the site cannot be made"
    echo "note: no pandoc: the site of the course was not made"
    exit $failed
fi
all=${PAL_TEST_ALL:-0}
sample="docs/course/README.md docs/course/03_delta_rule.md"
# shellcheck disable=SC2046,SC2086 # a list of names, or none
python3 -B docs/site/build.py "$dir/site" "" $([ "$all" = 1 ] || echo $sample) >"$dir/out" 2>&1 || fail "$(cat "$dir/out")"
if [ "$all" = 1 ]; then
    for page in docs/course/[0-9]*.md docs/*.md; do
        [ -s "$dir/site/${page%.md}.html" ] || fail "there is no page of $page"
    done
    # Plain GitHub-flavoured Markdown, which pandoc reads without a word.
    for page in docs/course/*.md docs/course/answers/*.md; do
        pandoc -f gfm -t native -o /dev/null "$page" 2>"$dir/said" || fail "$page: pandoc cannot read it"
        [ -s "$dir/said" ] && fail "$page: $(cat "$dir/said")"
    done
fi

# ---- This test can fail ----
# A copy of the tree's pages in which one thing is wrong: what build.py then says.
# shellcheck disable=SC2086 # a page, or none: all
refuses() { # WORDS TEXT [PAGE]: the text at the end of a page, of which alone the site is made
    rm -rf "$dir/tree"
    mkdir -p "$dir/tree"
    cp -r --parents docs README.md CONTRIBUTING.md CHANGELOG.md "$dir/tree"
    for name in *; do [ -e "$dir/tree/$name" ] || ln -s "$PWD/$name" "$dir/tree/$name"; done
    printf '\n%s\n' "$2" >>"$dir/tree/docs/course/01_memory.md"
    if (cd "$dir/tree" && python3 -B docs/site/build.py "$dir/other" "" ${3-docs/course/01_memory.md}) >"$dir/out" 2>&1; then fail "the site is made with $2"; fi
    grep -q -e "$1" "$dir/out" || fail "no \"$1\": $(cat "$dir/out")"
}
refuses 'leads nowhere' '[a page](11_nothing.md)'
if [ "$all" = 1 ]; then
    refuses 'there is no such section' '[a section](02_decay.md#nothing)' ''
    refuses 'a picture without a text' '![](../figures/demo-loss.svg)'
    refuses 'there is no picture' '![a picture](../figures/nothing.svg)'
    refuses 'pandoc says' '```math
\nothing{x}
```'
fi

if [ "$all" != 1 ]; then
    echo "note: the pages of the site are opened in a browser with PAL_TEST_ALL=1"
elif ! command -v chromium >/dev/null 2>&1; then
    fail "no chromium: the pages cannot be opened"
else
    python3 -B tests/site_pages.py "$dir/site" || fail "pages are not as they should be"
    # What is wrong here is found there.
    page=$dir/site/docs/course/01_memory.html
    cp "$page" "$dir/page.html"
    spoil() { # WORDS HTML
        sed "s|</main>|$2</main>|" "$dir/page.html" >"$page"
        if python3 -B tests/site_pages.py "$dir/site" docs/course/01_memory.html >"$dir/out"; then fail "nothing is found wrong with $2"; fi
        grep -q -e "$1" "$dir/out" || fail "no \"$1\": $(cat "$dir/out")"
    }
    spoil 'wide' '<div style="width:3000px;height:9px">.</div>'
    spoil 'a request leaves' '<img alt="x" src="http://127.0.0.1:9/x.png">'
    spoil 'the console says' '<script>console.log("x")</script>'
    spoil 'leads nowhere' '<a href="nothing.html">x</a>'
    spoil 'a contrast' '<p style="color:#999;background:#fff">x</p>'
    spoil 'no text for' '<img src="data:,">'
fi
[ $failed = 0 ] && echo "the site is as it should be"
exit $failed
