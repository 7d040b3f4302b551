#!/bin/sh
# test_lstm.sh - the cell of examples/lstm.c learns; its status says whether it did.
exec "${B:-build}/examples/lstm"
