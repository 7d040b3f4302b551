# ranks.sh - what the tests of several processes share; they read it by `.`.
#
# ranks N COMMAND...   runs N ranks, with its output in $dir/out
# checks               how many were made, $failed whether one failed
B=${B:-build}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
failed=0
checks=0
# Ranks that wait sleep: there may be more of them than processors.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
# Open MPI unloads its modules before leaks are looked for, so that theirs cannot be told from ours.
export ASAN_OPTIONS=detect_leaks=0
launch="--oversubscribe --bind-to none --mca mpi_yield_when_idle 0"
if [ "${PAL_TEST_ALL:-0}" = 1 ]; then all_ranks="1 2 3 4"; else all_ranks=2; fi

fail() {
    echo "FAIL: $*"
    failed=1
}
ranks() { # N command...
    n=$1
    shift
    checks=$((checks + 1))
    # shellcheck disable=SC2086 # the flags are to be split
    timeout "${limit:-800}" mpirun $launch -n "$n" "$@" >"$dir/out" 2>&1
}
holds() { # N command...
    ranks "$@" || fail "$*: status $?: $(cat "$dir/out")"
}
# In the form in which Check counts, for tests/run.sh.
report() {
    [ $failed = 0 ] && echo "100%: Checks: $checks, Failures: 0, Errors: 0"
    exit $failed
}
