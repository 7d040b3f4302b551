#!/bin/sh
# test_torch_ops.sh - operations give what PyTorch's give. PYTHON_TORCH names a Python that has it.
set -u
B=${B:-build}
if [ -n "${SAN:-}" ]; then
    echo "note: skipped: Python does not load a library with sanitizers"
    exit 0
fi
for p in ${PYTHON_TORCH:-} python3; do
    if "$p" -c 'import torch' 2>/dev/null; then
        OMP_NUM_THREADS=1 exec "$p" -B tests/torch_ops.py "$B/libpalimpsest.so" "${SEED:-1}"
    fi
done
echo "note: skipped: PyTorch"
