# shellcheck shell=sh disable=SC2034 # failed is the status of the test
# ablate.sh - what the tests of examples/ablate share: a folder $dir that is gone at the end, and calls of the program, whose
# output is kept. A test ends with `exit $failed`.
set -u
B=${B:-build}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
failed=0
export OMP_NUM_THREADS=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

fail() {
    echo "FAIL: $*"
    failed=1
}
# Without gnuplot, which takes half of the time, where plots=no and PAL_TEST_ALL is not 1.
plots=yes
ablate() { # OUT arguments...; what it prints is in OUT.log
    to=$1
    shift
    case $plots,${PAL_TEST_ALL:-0} in
    no,0) env PATH=/nowhere "$B/examples/ablate" "$@" --out "$dir/$to" >"$dir/$to.log" 2>&1 ;;
    *) "$B/examples/ablate" "$@" --out "$dir/$to" >"$dir/$to.log" 2>&1 ;;
    esac
}
works() { ablate "$@" || fail "$*: status $?: $(cat "$dir/$1.log")"; }
says() { grep -q -e "$2" "$dir/$1.log" || fail "no \"$2\": $(cat "$dir/$1.log")"; }
