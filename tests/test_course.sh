#!/bin/sh
# test_course.sh - the pages of docs/course do what they say: their programs compile without a warning and print what the
# pages show, each text at its place, and so do their commands. PAL_TEST_ALL=1 also runs the slow commands, the programs that take
# a second, and all pages of answers. Without it the programs that are not run are compiled.
# shellcheck disable=SC2016 # backquotes are those of the pages
set -u
B=${B:-build}
COURSE_OUT=$(mktemp -d)
export B COURSE_OUT
trap 'rm -rf "$COURSE_OUT"' EXIT
trap 'exit 1' INT TERM
export OMP_NUM_THREADS=1 # what is here is too small for a team
failed=0

fail() {
    echo "FAIL: $*"
    failed=1
}
part() { # PART PAGE
    awk -v part="$1" -v slow="${PAL_TEST_ALL:-0}" -f docs/course/extract.awk "$2"
}

# The points of a page's figures are those of the pictures: within 0.002 of their size, and where their name begins with ~
# (errors that rounding makes) within a factor of 100.
points() { # PROGRAM
    data=docs/course/figures/${1%%_*}.dat
    if [ ! -e "$data" ] || ! grep -q '^@' "$COURSE_OUT/$1.out"; then return 0; fi
    grep '^@' "$COURSE_OUT/$1.out" | paste -d '|' "$data" - | awk -F '|' '
        function apart(a, b, rough) {
            if (a == b) return 0
            if (rough) return !(a / b < 100 && b / a < 100)
            return !((a - b) ^ 2 <= (0.002 * (a ^ 2) ^ 0.5 + 0.002) ^ 2)
        }
        {
            n = split($1, x, " "); m = split($2, y, " ")
            bad = n != m || x[1] != y[1]
            for (i = 2; i <= n; i++) if (apart(x[i], y[i], x[1] ~ /~/)) bad = 1
            if (bad) { print "the figure has " $1 " and the program " $2; exit 1 }
        }'
}

# Compiles, runs and compares one page; says what is wrong and is false then.
check() { # PAGE
    out=$COURSE_OUT/out
    part c "$1" >"$out.c" || return 1
    if [ -s "$out.c" ]; then
        program=$(echo "$1" | sed -e 's|.*answers/|answers_|' -e 's|.*/||' -e 's|\.md$||')
        # A copy of a page with other texts has the program that was run a moment ago.
        if cmp -s "$out.c" "$COURSE_OUT/last.c"; then
            cp "$COURSE_OUT/last.out" "$COURSE_OUT/$program.out"
        elif sh docs/course/run.sh "$1" >"$out.log" 2>"$out.err" && [ ! -s "$out.err" ]; then
            cp "$out.c" "$COURSE_OUT/last.c"
            cp "$COURSE_OUT/$program.out" "$COURSE_OUT/last.out"
        else
            cat "$out.err"
            return 1
        fi
        part c-says "$1" >"$out.want" || return 1
        sed '/^@/d' "$COURSE_OUT/$program.out" >"$out.got"
        points "$program" || return 1
        diff -u "$out.want" "$out.got" >"$out.diff" || {
            echo "the page (-) and the program (+) differ:"
            cat "$out.diff"
            return 1
        }
    fi
    # Pages say build/; the tests may be built elsewhere.
    part sh "$1" | sed "s|build/|$B/|g" >"$out.sh" || return 1
    if [ -s "$out.sh" ]; then
        sh -eu "$out.sh" >"$out.got" 2>"$out.err" || {
            cat "$out.got" "$out.err"
            return 1
        }
        part sh-says "$1" >"$out.want"
        # What no text is about is not compared: all of it, or what comes after the mark of the last text.
        if [ -s "$out.want" ]; then
            awk '{ since = since $0 "\n" } /^\f$/ { printf "%s", since; since = "" }' "$out.got" >"$out.told"
            mv "$out.told" "$out.got"
            diff -u "$out.want" "$out.got" >"$out.diff" || {
                echo "the page (-) and its commands (+) differ:"
                cat "$out.diff"
                return 1
            }
        fi
    fi
}

# What a page gives its reader to play with is what inspect takes.
scripts() { # PAGE
    part memory "$1" >"$COURSE_OUT/memory" || return 1
    [ -s "$COURSE_OUT/memory" ] || return 0
    awk -v RS='\f\n' -v out="$COURSE_OUT/script-" 'NF { printf "%s", $0 > (out NR); close(out NR) }' "$COURSE_OUT/memory"
    for script in "$COURSE_OUT"/script-*; do
        "$B/examples/inspect" --script "$script" >"$COURSE_OUT/inspected" 2>&1 || {
            cat "$COURSE_OUT/inspected"
            return 1
        }
    done
    rm "$COURSE_OUT"/script-*
}

# Every page, by two processes: each takes every second page, in a folder of its own.
every_second() { # 0-OR-1
    COURSE_OUT=$COURSE_OUT/$1
    mkdir "$COURSE_OUT"
    turn=$1
    for page in $pages; do
        turn=$((1 - turn))
        [ $turn = 0 ] && continue
        scripts "$page" >"$COURSE_OUT/report" || fail "$page: $(cat "$COURSE_OUT/report")"
        check "$page" >"$COURSE_OUT/report" || fail "$page: $(cat "$COURSE_OUT/report")"
    done
    exit $failed
}
pages=$(ls docs/course/*.md docs/course/answers/*.md)
only_compiled=$(echo "$pages" | grep -e '/0[26]_' -e '/12_' -e 'answers/0[2-8]' -e 'answers/1')
if [ "${PAL_TEST_ALL:-0}" = 1 ]; then only_compiled=; else pages=$(echo "$pages" | grep -v -x -F -e "$only_compiled"); fi
(every_second 0) &
half=$!
(every_second 1) || failed=1
wait $half || failed=1
for page in $only_compiled; do
    part c "$page" >"$COURSE_OUT/only.c" || fail "$page: it has no program that can be read"
    [ -s "$COURSE_OUT/only.c" ] || continue
    ${CC:-gcc} -std=c11 -Wall -Wextra -Wconversion -Werror -fsyntax-only -I. "$COURSE_OUT/only.c" >"$COURSE_OUT/report" 2>&1 ||
        fail "$page: $(cat "$COURSE_OUT/report")"
done
ls docs/course/[0-9]*.md docs/course/answers/[0-9]*.md >"$COURSE_OUT/pages"
[ "$(wc -l <"$COURSE_OUT/pages")" = 25 ] || fail "not page 0, and twelve pages with answers: $(cat "$COURSE_OUT/pages")"

# ---- This test can fail ----
for picture in $(grep -ho '(figures/[^)]*)' docs/course/*.md | tr -d '()' | sort -u); do
    [ -s "docs/course/$picture" ] || fail "there is no $picture"
done
# Each page says what it is for, shows two figures of its own, and ends with exercises, papers and code.
for page in docs/course/0[1-9]*.md docs/course/1*.md; do
    number=$(basename "$page" | cut -c 1-2)
    for words in 'Afterwards you can' '\*\*Time:\*\*' '\*Warm-up\.\*' '\*Program\.\*' '★ \*Project\.\*' 'https://arxiv.org/abs/' \
        'Code: *$\|Code: \[' '(rules.md)' '(glossary.md)' "(answers/$number.md)"; do
        grep -q -e "$words" "$page" || fail "$page: no $words"
    done
    [ "$(grep -o "(figures/$number-[a-z]*\.svg)" "$page" | sort -u | wc -l)" -ge 2 ] || fail "$page has not two figures of its own"
    case $number in
    0[2-6]) grep -q '^```memory' "$page" || fail "$page has no memory to play with" ;;
    esac
done
first=$(ls docs/course/01*.md)
third=$(ls docs/course/03*.md) # which has a block of commands
mutant() { # WHAT SED-SCRIPT [PAGE]: a copy of the first page, changed, has to be found out
    page=${3:-$first}
    copy=$COURSE_OUT/$(basename "$page" | cut -c 1-2)_mutant.md
    sed "$2" "$page" >"$copy"
    cmp -s "$page" "$copy" && fail "the mutant with $1 is the page itself"
    if check "$copy" >/dev/null 2>&1; then fail "a page with $1 passes"; fi
}
printf '```memory\nwrite a\n```\n' >"$COURSE_OUT/mutant.md"
if scripts "$COURSE_OUT/mutant.md" >/dev/null 2>&1; then fail "a script that inspect refuses passes"; fi
rm -f "$COURSE_OUT"/script-*
printf '```c\nint unused(void) { return 0; }\nint main(void) { return 0; }\n```\n' >"$COURSE_OUT/mutant.md"
check "$COURSE_OUT/mutant.md" >"$COURSE_OUT/report" 2>&1 && fail "a page with a warning passes"
grep -q 'no previous prototype' "$COURSE_OUT/report" || fail "a page with a warning: $(cat "$COURSE_OUT/report")"
mutant "another digit in a text" '/^```text/,/^```$/ s/[0-8]/9/'
# A mutant of a program is compiled.
[ "${PAL_TEST_ALL:-0}" = 1 ] && mutant "other points of a figure" 's/^\( *printf("@full %d %.3f %.3f.n", n, \)relative/\1relative + 0.01/'
mutant "a line more in a text" '/^```text/a\
something else'
mutant "a text less" '/^```text/,/^```$/d'
[ "${PAL_TEST_ALL:-0}" = 1 ] && mutant "an error" 's/pal_tape_new/pal_tape_now/'
mutant "a block of another language" 's/^```text/```console/'
cp "$third" "$COURSE_OUT/mutant.md"
check "$COURSE_OUT/mutant.md" >"$COURSE_OUT/report" || fail "a copy of $third: $(cat "$COURSE_OUT/report")"
mutant "another command" 's/^build\/examples\/03_delta_rule$/& | tail -n +2/' "$third"
mutant "a command that is not there" 's/^build\/examples\/03_delta_rule$/&_s/' "$third"
mutant "another digit in what a command prints" '/^move b half-way/ s/0\.50/0.60/' "$third"
if B=$COURSE_OUT/nothing sh docs/course/run.sh "$first" >/dev/null 2>"$COURSE_OUT/err"; then fail "run.sh needs no library"; fi
grep -q 'run make first' "$COURSE_OUT/err" || fail "run.sh without a library: $(cat "$COURSE_OUT/err")"
exit $failed
