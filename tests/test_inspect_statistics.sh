#!/bin/sh
# test_inspect_statistics.sh - inspect --statistics: over one row its means are those of gates.csv, over many rows and over
# a long text it counts every gate, and HDF5 says what the CSV says.
set -u
B=${B:-build}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
failed=0
export OMP_NUM_THREADS=1

fail() {
    echo "FAIL: $*"
    failed=1
}
look() { # OUT arguments...
    out=$1
    shift
    "$B/examples/inspect" "$@" --out "$dir/$out" >"$dir/$out.txt" 2>&1 || fail "$*: $(cat "$dir/$out.txt")"
}
refuses() { # words arguments...
    words=$1
    shift
    if "$B/examples/inspect" "$@" >"$dir/out" 2>&1; then fail "accepted: $*"; fi
    grep -q -e "$words" "$dir/out" || fail "no \"$words\": $(cat "$dir/out")"
}
i=0
while [ $i -lt 300 ]; do
    echo "$i bottles, $((i * i % 97)) labels"
    i=$((i + 1))
done >"$dir/text"
mixers=gdn2:num_heads=2:head_dim=4,kda:num_heads=2:head_dim=4,gdn:num_heads=2:head_dim=4,mamba2:head_dim=8:state_size=4,attn:num_heads=2
"$B/examples/train_lm" --data "$dir/text" --mixers "$mixers" --layers 5 --width 16 --steps 3 --len 40 --batch 2 --sample 0 \
    --out "$dir/run" >"$dir/train.txt" 2>&1 || fail "train_lm: $(cat "$dir/train.txt")"
model=$dir/run/step-00000003.h5

# ---- One row: the means of gates.csv, which is made by other code ----
look one "$model" --row 2 --no-figures
look row "$model" --row 2 --statistics 1
awk -F, '
    FNR == 1 { file++; next }
    file == 1 { key = $2 "," $3 "," $5; sum[key] += $7; n[key]++ }
    file == 2 {
        gate = $5
        if (gate == "beta") { gate = "erase" } # inspect writes rules in the form of GDN-2
        if (gate == "dt") gate = "write"
        key = $2 "," $4 "," gate
        mean = sum[key] / n[key]
        if (!(key in n) || ($8 - mean) ^ 2 > 1e-10 * (1 + mean * mean)) { print "mean of " $0 " is " mean " in gates.csv"; bad = 1 }
        if (!($10 <= $11 && $11 <= $12 && $12 <= $13 && $13 <= $14)) { print "no order: " $0; bad = 1 }
        lines++
    }
    END { if (lines != 22) { print lines " lines of 22"; bad = 1 } exit bad }
    ' "$dir/one/gates.csv" "$dir/row/statistics.csv" || fail "other means"

# ---- Many rows, and a text of any length ----
look many "$model" --statistics 20
awk -F, 'NR > 1 && $7 != 20 * 40 * $6 { print "count " $0; bad = 1 } END { exit bad }' "$dir/many/statistics.csv" || fail "rows are lost"
look all "$model" --statistics 1000000
grep -q ' tokens in ' "$dir/all.txt" || fail "no number of tokens"
look long "$model" --file "$dir/text" --layer 1
size=$(wc -c <"$dir/text" | tr -d ' ')
grep -q ": $size tokens in 1 rows" "$dir/long.txt" || fail "the text is not read whole: $(cat "$dir/long.txt")"
awk -F, -v n="$size" 'NR > 1 && ($7 != n * $6 || $2 != 1) { bad = 1 } END { exit bad || NR != 5 }' "$dir/long/statistics.csv" ||
    fail "not all of the text: $(cat "$dir/long/statistics.csv")"
look two "$model" "$dir/run/../run/step-00000003.h5" --statistics 2 --head 1
[ "$(wc -l <"$dir/two/statistics.csv")" = 19 ] || fail "not two models of one head: $(cat "$dir/two/statistics.csv")"

if sh tests/support/has.sh h5py; then
    /usr/bin/python3 - "$dir/many" <<'END' || fail "HDF5 says something else"
import csv, sys, h5py
folder = sys.argv[1]
lines = list(csv.DictReader(open(folder + '/statistics.csv')))
file, seen = h5py.File(folder + '/statistics.h5'), 0
assert file['0'].attrs['tokens'] == 800 and file['0'].attrs['rows'] == 20
for gate in file['0']:
    g = file['0'][gate]
    for i in range(len(g['layer'])):
        line, = [x for x in lines if (int(x['layer']), int(x['head']), x['gate']) == (g['layer'][i], g['head'][i], gate)]
        for name in ('mean', 'deviation', 'least', 'p05', 'median', 'p95', 'most') + (('half_life',) if gate == 'decay' else ()):
            assert abs(g[name][i] - float(line[name])) <= 1e-8 * abs(g[name][i]), (gate, i, name)
        assert g['histogram'][i].sum() == g['count'][i] == int(line['count'])
        seen += 1
assert seen == len(lines)
END
fi

refuses "belong to models" --demo --statistics 3
refuses "without --text and --tokens" "$model" --text x --statistics 3
refuses "one of them" "$model" --file "$dir/text" --statistics 3
refuses "No such file" "$model" --file "$dir/nothing"
refuses "is empty" "$model" --file /dev/null
[ $failed = 0 ] && echo "statistics count every gate"
exit $failed
