#!/usr/bin/env python3
"""structured.py - config.json and headers of safetensors that are JSON, with wrong values in them.

    python3 -B tests/fuzz/structured.py --fuzzers build/fuzz --runs 20000 --seed 1

Bytes that are changed at random mostly leave the form of JSON. Here keys are taken away, doubled,
moved from one family to another, and given values of other types and sizes. The inputs go to the
fuzzers `released` and `safetensors`. A folder whose inputs a fuzzer does not survive is kept.
"""
import argparse
import glob
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

ROWS = 250  # inputs of a folder
HERE = os.path.dirname(os.path.abspath(__file__))
VALUES = [json.dumps(v) for v in (
    None, True, False, 0, 1, -1, 2, 3, 7, 8, 16, 64, 1e308, -1e308, 1e-300, 0.5, 1.5, 2**31, 2**31 - 1, 2**53, 2**63 - 1, 2**63, 4096,
    4097, 65536, 1 << 24, (1 << 24) + 1, "", "auto", "silu", "rope", "default", "moe", "mamba", "full_attention", "conv", "M-*-" * 50, [],
    [1], [0.0, 1e9], [1, 2, 3, 4, 5], ["conv"] * 4, ["full_attention"] * 5000, {}, {"__float__": "Infinity"}, {"rope_theta": -1},
    {"layers": [0, 1], "num_heads": 2}, [{"layers": [0], "num_heads": 1}] * 6, "x" * 600, "a:b,c(d)*9", "1e999")]
TYPES = ["F32", "BF16", "F16", "F64", "I64", "U8", "BOOL", "F8_E4M3", "X", "", None, 7, "F32" * 200]
SHAPES = [[], [1], [0], [2, 3], [4], [1] * 9, [2**62, 2], [2**31, 2**31, 4], [-1], [1.5], ["a"], None, {}, [2**63], [2**64], [0, 2**62]]
PLACES = [0, 1, 2, 4, 8, 12, 16, -1, 2**31, 2**63 - 1, 2**64, 1.5, None, "4", []]
NAMES = ["a", "b", "model.norm.weight", "__metadata__", "", "x" * 500, "a\0b", "lm_head.weight", "\u00fc"]


def places(o, out):
    for k in list(o) if isinstance(o, dict) else range(len(o)):
        out.append((o, k))
        if isinstance(o[k], (dict, list)):
            places(o[k], out)
    return out


def config(draw, sources, keys):
    o = json.loads(draw.choice(sources))
    for _ in range(draw.randint(1, 4)):
        all_places = places(o, [])
        if not all_places:
            break
        at, k = draw.choice(all_places)
        value = json.loads(draw.choice(VALUES))
        kind = draw.random()
        if kind < 0.6 or not isinstance(at, dict):
            at[k] = value
        elif kind < 0.75:
            del at[k]
        elif kind < 0.9:
            at[draw.choice(keys)] = value
        else:
            other = json.loads(draw.choice(sources))
            name = draw.choice(list(other))
            at[name] = other[name]
    return json.dumps(o).encode()


def header(draw):
    items, end = [], 0
    for _ in range(draw.randint(0, 5)):
        shape = draw.choice([[1], [2], [2, 2], [3]])
        size = 4 * (4 if len(shape) > 1 else shape[0])
        items.append((draw.choice(NAMES), {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}))
        end += size
    for _ in range(draw.randint(0, 2) if items else 0):
        tensor, kind = draw.choice(items)[1], draw.randint(0, 4)
        if kind == 0:
            tensor["dtype"] = draw.choice(TYPES)
        elif kind == 1:
            tensor["shape"] = draw.choice(SHAPES)
        elif kind == 2:
            tensor["data_offsets"] = draw.choice([[draw.choice(PLACES), draw.choice(PLACES)], draw.choice(PLACES)])
        elif kind == 3 and tensor:
            tensor.pop(draw.choice(list(tensor)))
        else:
            tensor[draw.choice(["x", "dtype", "shape"])] = draw.choice(TYPES + SHAPES)
    if draw.random() < 0.3:
        items.append(("__metadata__", draw.choice([{"format": "pt"}, {"a": 1}, [], None, {"a": "b" * 300}])))
    text = "{" + ",".join(json.dumps(k) + ":" + json.dumps(v) for k, v in items) + "}" + " " * draw.choice([0, 0, 1, 7])
    return text.encode() + b"\0" + bytes(draw.choice([end, end, end, end + 1, max(0, end - 1), 0]))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--fuzzers", default="build/fuzz")
    p.add_argument("--runs", type=int, default=2000)
    p.add_argument("--seed", type=int, default=1)
    o = p.parse_args()
    sources = [open(f, encoding="utf-8").read() for f in sorted(glob.glob(HERE + "/corpus/released/*.json"))]
    keys = sorted({k for s in sources for at, k in places(json.loads(s), []) if isinstance(at, dict)})
    draw, failed = random.Random(o.seed), 0
    makers = {"released": lambda: config(draw, sources, keys), "safetensors": lambda: header(draw)}
    for name, make in makers.items():
        for begin in range(0, o.runs, ROWS):
            folder = tempfile.mkdtemp(prefix=f"structured-{name}-")
            for i in range(min(ROWS, o.runs - begin)):
                with open(f"{folder}/{i:03d}", "wb") as file:
                    file.write(make())
            got = subprocess.run([f"{o.fuzzers}/{name}", "-runs=0", folder], capture_output=True, text=True, check=False)
            if got.returncode == 0:
                shutil.rmtree(folder)
                continue
            failed += 1
            print(f"{folder}: fuzz/{name} ends with {got.returncode}: {got.stderr[-2000:]}")
    print(f"{o.runs} configurations and as many headers, {failed} folders failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
