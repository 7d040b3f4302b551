#!/bin/sh
# check_abi.sh - whether a program that was compiled before still works with the library of today: its public symbols,
# structs and enums are compared with those that are stored for its SOVERSION (libabigail's abidiff).
#
#   check_abi.sh check LIBRARY REFERENCE HEADERS...   fails if something was taken away or changed; additions pass
#   check_abi.sh renew LIBRARY REFERENCE HEADERS...   stores those of today, and refuses where check would fail;
#                                                     UNPUBLISHED=yes stores them all the same
#
# LIBRARY is a shared library built with -g, and REFERENCE a file that `renew` made (abidw's XML, compressed by xz). Types
# that no header of HEADERS defines are private and may change.
set -u
what=$1
library=$2
reference=$3
shift 3
for program in abidiff abidw xz readelf; do
    command -v $program >/dev/null 2>&1 && continue
    echo "note: skipped; there is no program '$program' (./deps.sh --all installs abigail-tools)"
    exit 0
done
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM

soname=$(readelf -d "$library" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
[ -n "$soname" ] || { echo "$library has no soname"; exit 1; }
readelf -S "$library" | grep -q '\.debug_info' || { echo "note: skipped; $library was built without -g"; exit 0; }

compare() {
    xz -dc "$reference" >"$dir/before.xml" || exit 1
    before=$(sed -n "1s/.*soname='\([^']*\)'.*/\1/p" "$dir/before.xml")
    if [ "$before" != "$soname" ]; then
        echo "$reference is of $before, and the library is $soname: 'make abi' stores what $soname has"
        return 1
    fi
    flags=$(printf -- '--hf2 %s ' "$@")
    # shellcheck disable=SC2086 # the flags are to be split
    abidiff --no-architecture --no-added-syms $flags "$dir/before.xml" "$library" >"$dir/out" 2>&1 && return 0
    cat "$dir/out"
    echo "A program that was compiled with an earlier $soname may crash with this one. If there is such a program, raise SOVERSION in the"
    echo "Makefile, say in CHANGELOG.md what to change, and store the new state by 'make abi'. If no library of this SOVERSION was"
    echo "published since the change, 'make abi UNPUBLISHED=yes' stores it."
    return 1
}

case $what in
check) compare "$@" && echo "the public symbols and types of $soname are as they were, or there are more of them" ;;
renew)
    if [ -e "$reference" ] && [ "${UNPUBLISHED:-}" != yes ] && ! compare "$@" >"$dir/changes"; then
        # A new SOVERSION is what permits changes.
        grep -q "^$reference is of " "$dir/changes" || { cat "$dir/changes"; exit 1; }
    fi
    flags=$(printf -- '--hf %s ' "$@")
    # shellcheck disable=SC2086
    abidw $flags --drop-private-types --short-locs --no-corpus-path --no-comp-dir-path --no-architecture --no-elf-needed \
        --no-parameter-names --exported-interfaces-only --out-file "$dir/now.xml" "$library" &&
        xz -9 -c "$dir/now.xml" >"$reference.tmp" && mv "$reference.tmp" "$reference"
    ;;
*)
    echo "check_abi.sh: '$what' is neither check nor renew"
    exit 1
    ;;
esac
