#!/bin/sh
# test_lengths.sh - no file is longer than 500 lines, and no function than 60 (tests/lengths.py).
exec /usr/bin/python3 tests/lengths.py
