#!/bin/sh
# run.sh RUNS FUZZER... - RUNS mutations for each fuzzer of a text parser. What libFuzzer finds on
# the way is kept in $B/corpus and is where the next run begins. SEED=N chooses other mutations.
B=${B:-build}
runs=$1
shift
passed=0 failed=0
OMP_NUM_THREADS=1
export OMP_NUM_THREADS
for program; do
    name=${program##*/}
    found=$B/corpus/$name
    mkdir -p "$found"
    if "$program" -runs="$runs" -seed="${SEED:-1}" -max_len=4096 -timeout=20 \
        -artifact_prefix="$B/corpus/" "$found" "tests/fuzz/corpus/$name" \
        >"$B/corpus/$name.log" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL: fuzz/$name"
        tail -n 40 "$B/corpus/$name.log"
    fi
done
echo "$passed fuzzers of texts passed, $failed failed; $runs inputs each"
[ $failed = 0 ]
