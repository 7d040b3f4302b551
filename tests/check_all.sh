#!/bin/sh
# check_all.sh - everything that `make check` leaves out for time: every case of every test on each
# instruction set, the sanitizers, the other compiler, and the checks of the tree itself. All parts run,
# whatever became of the ones before; the exit status is that of the worst.
B=${B:-build}
MAKE=${MAKE:-make}
failed=0
passed=0

part() { # name command...
    echo "== $1"
    name=$1
    shift
    begin=$(date +%s)
    if env "$@"; then
        passed=$((passed + 1))
        echo "== $name: passed, $(($(date +%s) - begin)) s"
    else
        failed=$((failed + 1))
        echo "== $name: FAILED, $(($(date +%s) - begin)) s"
    fi
}

# The first part takes every case on every instruction set; what the others add is whole programs on theirs.
part "all cases" PAL_TEST_ALL=1 "$MAKE" B="$B" check
for isa in avx2 base; do
    part "$isa at most" PAL_ISA=$isa "$MAKE" B="$B" check
done
part "base kernels are base" "$MAKE" B="$B" check-isa
part "public symbols and types" "$MAKE" B="$B" check-abi
part "clang" "$MAKE" B="$B" check-clang
part "address and undefined-behaviour sanitizers" \
    "$MAKE" B="$B/san" SAN=address,undefined OPT=-O1 check
part "texts from outside, under the sanitizers" "$MAKE" B="$B/san" SAN=address,undefined OPT=-O1 fuzz-texts
part "files from outside" "$MAKE" B="$B" fuzz-files
part "without BPE" "$MAKE" B="$B/no-bpe" BPE=no check
part "without utf8proc" "$MAKE" B="$B/no-utf8proc" UTF8PROC=no check
part "thread sanitizer" "$MAKE" B="$B" check-tsan
part "a little of every study" "$MAKE" B="$B" check-studies
part "format" "$MAKE" format-check
part "bare Debian roots" sh tests/check_roots.sh
part "documentation" "$MAKE" B="$B" docs
echo "check-all: $passed parts passed, $failed failed"
[ $failed = 0 ]
