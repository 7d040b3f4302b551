#!/bin/sh
# test_floors.sh - no include and no call runs from a lower floor to a higher one (tests/floors.py).
exec /usr/bin/python3 tests/floors.py "${B:-build}"
