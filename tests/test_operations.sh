#!/bin/sh
# test_operations.sh - docs/operations.md lists every operation of ops.def, once, and no other; and an operation sizes its
# scratch memory for the team that its call will have.
set -u
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
sed -n 's/^PAL_\(OP\|UNARY\|BINARY\|COMPARE\)(\([a-z0-9_]*\).*/pal_\2/p' autograd/ops.def | sort >"$dir/defined"
grep '^| ' docs/operations.md | grep -o '`pal_[a-z0-9_]*`' | tr -d '`' | sort >"$dir/listed"
if [ ! -s "$dir/defined" ] || ! diff "$dir/defined" "$dir/listed" >"$dir/differences"; then
    echo "FAIL: autograd/ops.def (<) and docs/operations.md (>) differ:"
    cat "$dir/differences"
    exit 1
fi
# pal_team may say another number when it is asked again. Only pal_array_add (map.c) uses it, for a region of its own.
if grep -n 'pal_team(\|pal_team_of(' autograd/ops/*.c $(find layers -name '*.c') | grep -v 'run_all(&p, pal_team(n));'; then
    echo "FAIL: infer has to ask pal_call_team"
    exit 1
fi
echo "$(wc -l <"$dir/defined") operations"
