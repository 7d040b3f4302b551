#!/bin/sh
# test_operations.sh - docs/operations.md lists every operation of ops.def, once, and no other.
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
echo "$(wc -l <"$dir/defined") operations"
