#!/bin/sh
# test_abi.sh - tests/check_abi.sh finds what would break a compiled program, and nothing else, in a small library. Only with
# PAL_TEST_ALL=1, and where libabigail is installed.
set -u
if [ "${PAL_TEST_ALL:-0}" != 1 ] || ! command -v abidiff >/dev/null 2>&1; then
    echo "note: skipped; changes of a library's public types are tried with PAL_TEST_ALL=1, and need abidiff"
    exit 0
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
failed=0
here=$(pwd)
cd "$dir" || exit 1

fail() {
    echo "FAIL: $*"
    failed=1
}
write() {
    cat >a.h <<'END'
typedef struct { int rows; double scale; } opts;
typedef struct state state;
typedef enum { FIRST, SECOND } kind;
state *state_new(opts o, kind k);
double state_sum(const state *s, const opts *o);
END
    cat >a.c <<'END'
#include "a.h"
#define API __attribute__((visibility("default")))
struct state { int hidden; };
API state *state_new(opts o, kind k) { (void)o, (void)k; return 0; }
API double state_sum(const state *s, const opts *o) { return s->hidden * o->scale; }
END
}
build() { # SONAME
    ${CC:-gcc} -g -shared -fPIC -fvisibility=hidden -Wl,-soname,"$1" a.c -o a.so || exit 1
}
abi() { sh "$here/tests/check_abi.sh" "$1" a.so a.xz a.h >out 2>&1; }
passes() { # what sed-script
    write && sed -i "$2" a.h a.c && build liba.so.0
    abi check || fail "$1 is refused: $(cat out)"
}
fails() { # what sed-script
    write && sed -i "$2" a.h a.c && build liba.so.0
    abi check && fail "$1 passes: $(cat out)"
    grep -q "raise SOVERSION" out || fail "$1: it does not say what to do: $(cat out)"
    before=$(cksum <a.xz)
    abi renew && fail "$1: 'renew' stores it"
    [ "$(cksum <a.xz)" = "$before" ] || fail "$1: 'renew' fails and stores it"
}
write && build liba.so.0
abi renew || fail "nothing is stored: $(cat out)"
passes "no change" ''
passes "a private struct" 's/int hidden;/double hidden, more;/'
passes "one more function" '$a double more(void);'
passes "one more value at the end of an enum" 's/SECOND/SECOND, THIRD/'
fails "a new field" 's/double scale;/double scale, bias;/'
fails "another type of a field" 's/double scale;/float scale;/'
fails "fields in another order" 's/int rows; double scale;/double scale; int rows;/'
fails "another value of an enum" 's/SECOND }/THIRD, SECOND }/'
fails "another argument" 's/opts o, kind k/const opts *o, kind k/'
fails "another result" 's/double state_sum/float state_sum/'
fails "a function that went away" 's/state_sum/state_total/'
# A new SOVERSION permits it, once it is stored.
build liba.so.1
abi check && fail "another soname passes"
grep -q "'make abi' stores what liba.so.1 has" out || fail "another soname: $(cat out)"
abi renew || fail "another soname is not stored: $(cat out)"
abi check || fail "what was stored is refused: $(cat out)"
write && sed -i 's/double scale;/float scale;/' a.h && build liba.so.1
UNPUBLISHED=yes abi renew || fail "UNPUBLISHED=yes: $(cat out)"
abi check || fail "what was stored by UNPUBLISHED=yes is refused: $(cat out)"
exit $failed
