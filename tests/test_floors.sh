#!/bin/sh
# test_floors.sh - no include and no call runs from a lower floor to a higher one (tests/floors.py).
if [ ! -x /usr/bin/python3 ]; then
    echo "note: skipped: no python3; ./deps.sh installs it"
    exit 0
fi
exec /usr/bin/python3 tests/floors.py "${B:-build}"
