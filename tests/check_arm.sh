#!/bin/sh
# check_arm.sh - the programs of make check-arm under qemu, with each set of kernels of 64-bit ARM.
set -u
: "${ROOT:=build/arm64-root}"
qemu=$(command -v qemu-aarch64 || command -v qemu-aarch64-static) || {
    echo "check-arm: qemu-aarch64 is missing; ./deps.sh --arm installs it"
    exit 1
}
failed=0
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
# BLIS lies in a folder that the linker of a real system finds by a link, which unpacked packages do not have.
for isa in base neon; do
    run() { "$qemu" -L "$ROOT" -E LD_LIBRARY_PATH=/usr/lib/aarch64-linux-gnu/blis-openmp -E PAL_ISA=$isa -E OMP_NUM_THREADS=2 \
        -E CK_DEFAULT_TIMEOUT=600 "$@" >"$dir/log" 2>&1; }
    part() { # name command...
        name=$1
        shift
        if run "$@"; then echo "ok    $isa  $name  $(tail -n 1 "$dir/log")"; else
            echo "FAIL  $isa  $name: $(tail -n 20 "$dir/log")"
            failed=1
        fi
    }
    for file in tests/data/op_*.h5; do part "replay $(basename "$file")" "$B/tests/replay" "$file"; done
    for test in test_ops test_reductions; do part $test "$B/tests/$test"; done
    part 02_mlp "$B/examples/02_mlp"
done
exit $failed
