#!/bin/sh
# test_floors.sh - no include and no call runs from a lower floor to a higher one (tests/floors.py).
for python in python3 /usr/bin/python3; do
    if command -v $python >/dev/null 2>&1; then exec $python tests/floors.py "${B:-build}"; fi
done
echo "note: skipped, there is no python3"
