#!/bin/sh
# test_results.sh - the runs that are committed (examples/ablate/results) make the tables of docs/studies.md again, without training
# and without the store of a text.
B=${B:-build}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failed=0
fail() {
    echo "FAIL: $*"
    failed=1
}
for runs in examples/ablate/results/*.txt; do
    name=$(basename "$runs" .txt)
    # In a folder of its own, where no store is.
    (cd "$dir" && "$OLDPWD/$B/examples/ablate" "$OLDPWD/examples/ablate/studies/$name.study" --from "$OLDPWD/$runs" --out "$dir/$name") \
        >"$dir/$name.log" 2>&1 || fail "$name: $(tail -n 3 "$dir/$name.log")"
    # Each row of a table of results has a row there that begins alike and has all of its cells.
    sed -n "/^### $name: results/,/^##* [^$]*results/{/^###* $name:/d;p}" docs/studies.md | sed -n '/^##/q;p' |
        grep -E '^\|.*[0-9]\.\.[+-]?[0-9]' >"$dir/told" || fail "docs/studies.md has no results of $name"
    awk -F ' *[|] *' '
        NR == FNR { if (/^[|]/) { row[++n] = $0 } next }
        { found = 0
          for (i = 1; i <= n && !found; i++) {
              c = split(row[i], cell, / *[|] */); delete has; for (j = 2; j < c; j++) has[cell[j]] = 1
              found = cell[2] == $2; for (j = 2; j < NF; j++) if (!($j in has)) found = 0
          }
          if (!found) { print "no such row in table.md: " $0; bad = 1 } }
        END { exit bad }' "$dir/$name/table.md" "$dir/told" || fail "$name: docs/studies.md is not what the runs say"
done
[ $failed = 0 ] && echo "the tables are those of the runs"
exit $failed
