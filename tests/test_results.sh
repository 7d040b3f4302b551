#!/bin/sh
# test_results.sh - the runs that are committed (examples/ablate/results) make the tables of docs/studies.md again, without training
# and without the store of a text. PAL_TEST_ALL=1 makes their figures, too.
B=${B:-build}
dir=$(mktemp -d) || exit 1
# Most of the time is gnuplot's. Without it the tables are the same.
if [ "${PAL_TEST_ALL:-0}" = 1 ]; then path=$PATH; else path=/nowhere; fi
trap 'rm -rf "$dir"' EXIT
failed=0
fail() {
    echo "FAIL: $*"
    failed=1
}
for runs in examples/ablate/results/*.txt; do
    name=$(basename "$runs" .txt)
    # In a folder of its own, where no store is.
    (cd "$dir" && PATH=$path "$OLDPWD/$B/examples/ablate" "$OLDPWD/examples/ablate/studies/$name.study" --from "$OLDPWD/$runs" --out "$dir/$name") \
        >"$dir/$name.log" 2>&1 || fail "$name: $(tail -n 3 "$dir/$name.log")"
    # Each row of a table of results has a row there that begins alike and has all of its cells. A cell in a column, or a row, that
    # has the name of a task is one of that task's table.
    sed -n "/^### $name: results/,/^##* [^$]*results/{/^###* $name:/d;p}" docs/studies.md | sed -n '/^##/q;p' | grep '^|' >"$dir/told"
    grep -qE '^\|.*[0-9]\.\.[+-]?[0-9]' "$dir/told" || fail "docs/studies.md has no results of $name"
    awk -F ' *[|] *' '
        NR == FNR { if (/^## /) { task[substr($0, 4)] = 1; at = substr($0, 4) } else if (/^[|]/) { of[++n] = at; row[n] = $0 } next }
        /^[|]---/ { c = split(before, head, / *[|] */) }
        { before = $0 }
        !/[0-9][.][.][+-]?[0-9]/ { next }
        { k = $2 in task ? 3 : 2; by_task = 0; for (j = 3; j < NF; j++) by_task += head[j] in task
          found = 0
          for (i = 1; i <= n; i++) {
              m = split(row[i], cell, / *[|] */); delete has; for (j = 2; j < m; j++) has[cell[j]] = 1
              if (!by_task && cell[2] == $k && (k == 2 || of[i] == $2) && !found) { found = 1; for (j = k; j < NF; j++) if (!($j in has)) found = 0 }
              if (by_task && cell[2] == $2) for (j = 3; j < NF; j++) if (head[j] == of[i] && $j in has) good[FNR, j] = 1
          }
          if (by_task) { found = 1; for (j = 3; j < NF; j++) if (head[j] in task && !good[FNR, j]) found = 0 }
          if (!found) { print "no such row in table.md: " $0; bad = 1 } }
        END { exit bad }' "$dir/$name/table.md" "$dir/told" || fail "$name: docs/studies.md is not what the runs say"
done
[ $failed = 0 ] && echo "the tables are those of the runs"
exit $failed
