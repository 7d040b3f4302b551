#!/bin/sh
# test_torch.sh - examples/torch: values and gradients against references in torch, and, with
# PAL_TEST_ALL=1, tiny models of transformers with the kernels and without.
set -u
B=${B:-build}
if [ -n "${SAN:-}" ]; then
    echo "note: the kernels for torch are not tested: a sanitizer has to be loaded first"
    exit 0
fi
python=
for p in ${HF_PYTHON:-} python3 /usr/bin/python3; do
    if [ -z "$python" ] && "$p" -c 'import torch' 2>/dev/null; then python=$p; fi
done
if [ -z "$python" ]; then
    echo "note: the kernels for torch are not tested: no python3 with torch (HF_PYTHON names one)"
    exit 0
fi
PALIMPSEST_LIBRARY=$(cd "$B" && pwd)/libpalimpsest.so
export PALIMPSEST_LIBRARY
# The peer of bench/torch/lm.py is the rule that it says.
"$python" -B -c 'import sys; sys.path.insert(0, "bench/torch"); import gdn2; error = gdn2.check(); print(f"peer: error {error:.1e}"); sys.exit(not error < 1e-10)' ||
    exit 1
if [ "${PAL_TEST_ALL:-0}" != 1 ]; then
    exec "$python" tests/torch_kernels.py --cases 16
fi
if ! "$python" -c 'import transformers' 2>/dev/null; then
    echo "note: models of transformers are not tested with the kernels for torch: no transformers (HF_PYTHON names a python3 that has it)"
    exec "$python" tests/torch_kernels.py
fi
"$python" tests/torch_kernels.py --fla || exit 1
exec "$python" tests/torch_kernels.py --models
