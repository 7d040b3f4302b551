#!/bin/sh
# test_dist_layers.sh - sequences over processes: what layers make of stretches is what they make of
# the whole, on 2 ranks, or with PAL_TEST_ALL=1 on 1 to 4.
set -u
B=${B:-build}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 1' INT TERM
OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1
export OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM OMP_NUM_THREADS

ranks=2
[ "${PAL_TEST_ALL:-0}" = 1 ] && ranks="1 2 3 4"
checks=0
failed=0
for n in $ranks; do
    timeout 300 mpirun --oversubscribe --bind-to none --mca mpi_yield_when_idle 1 -n "$n" \
        "$B/tests/dist_layers" >"$log" 2>&1
    status=$?
    # The program's last word is how many checks there were, and how many failed.
    counts=$(grep -E '^[0-9]+ [0-9]+$' "$log" | tail -n 1)
    bad=${counts#* }
    if [ $status != 0 ] || [ -z "$counts" ]; then
        echo "FAIL: $n ranks (status $status)"
        head -n 40 "$log"
        [ "${bad:-0}" = 0 ] && bad=1
    fi
    checks=$((checks + ${counts%% *}))
    failed=$((failed + bad))
done
[ "$checks" = 0 ] && checks=$failed
[ "$checks" = 0 ] && exit 1
echo "$((100 - 100 * failed / checks))%: Checks: $checks, Failures: $failed, Errors: 0"
[ $failed = 0 ]
