#!/bin/sh
# run.sh [OPTION]... - the table of bench/torch/run.py: models of transformers with the kernels and without.
# HF_PYTHON names a python3 with torch and transformers; B is the build folder.
set -eu
cd "$(dirname "$0")/../.."
B=${B:-build}
${MAKE:-make} -s B="$B" "$B/libpalimpsest.so.0.1.0"
PALIMPSEST_LIBRARY=$(cd "$B" && pwd)/libpalimpsest.so
export PALIMPSEST_LIBRARY
exec "${HF_PYTHON:-python3}" -B bench/torch/run.py "$@"
