"""weights.py [--runs N] [--seed N] - mutated files for examples/convert.py, in one process: safetensors, npz, config.json.

Every file is converted, or refused by an error that convert.py raises itself. What is converted is compared with an
independent reading: NumPy's of an npz, and a plain one of a safetensors file. What a config.json becomes has no character
that a shell would see. A file that fails stays in the folder that is printed.
"""
import argparse
import collections
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import struct
import sys
import tempfile
import warnings
import zipfile

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../examples"))
import convert
import convert_config
import convert_files

NUMBERS = [0, 1, -1, 2, 4, 7, 8, 255, 2**31, 2**32 - 1, 2**48, 2**62, 2**63, 2**64 - 1, 2**70, 1.0, 1.5, True, None]
NAMES = ["model.norm.weight", "lm_head.weight", "model.layers.0.attn.A_log", "model.layers.0.mlp.up_proj.weight", "",
         ".", "a/b", "/a", "a\0b", "\ud800", "\x1b[0m\n", "__metadata__", "backbone.norm_f.weight", "backbone.layers.0.mlp.fc1.weight"]
TYPES = ["F32", "F64", "F16", "BF16", "I64", "f32", "F8_E4M3", "", 4, None]


# ---- safetensors ----


def safetensors_seed(r):
    """(header as pairs, data) of a good file."""
    pairs, data = [], b""
    for name in r.sample(NAMES[:4], r.randint(1, 4)):
        dtype, width = r.choice([("F32", 4), ("F64", 8), ("F16", 2), ("BF16", 2)])
        shape = [r.randint(0, 3) for _ in range(r.randint(0, 3))]
        size = int(np.prod(shape)) * width
        pairs.append([name, {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + size]}])
        data += r.randbytes(size)
    return pairs, data


def change_header(r, pairs):
    name, t = pair = r.choice(pairs)
    what = r.randrange(9)
    if what == 0:
        t["data_offsets"][r.randrange(2)] += r.choice([-8, -4, -1, 1, 4, 8])
    elif what == 1:
        t["data_offsets"][r.randrange(2)] = r.choice(NUMBERS)
    elif what == 2 and t["shape"]:
        t["shape"][r.randrange(len(t["shape"]))] = r.choice(NUMBERS)
    elif what == 3:
        t["shape"].append(r.choice(NUMBERS))
    elif what == 4:
        t["dtype"] = r.choice(TYPES)
    elif what == 5:
        pair[0] = r.choice(NAMES)
    elif what == 6:
        pairs.append([r.choice([name, r.choice(NAMES)]), json.loads(json.dumps(r.choice(pairs)[1]))])
    elif what == 7:
        t[r.choice(list(t))] = r.choice(NUMBERS + [[], {}, "x", [[]]])
    else:
        t["data_offsets"] = list(r.choice(pairs)[1].get("data_offsets") or [])


def safetensors(r):
    pairs, data = safetensors_seed(r)
    for _ in range(r.choice([0, 1, 1, 2, 4])):
        try:
            change_header(r, pairs)
        except (AttributeError, IndexError, KeyError, TypeError):
            pass  # a change before has taken away what this one would change
    if r.random() < 0.1:
        pairs.append(["__metadata__", r.choice([{"a": "b"}, {"a": 1}, [], None])])
    text = ("{" + ",".join(json.dumps(name) + ":" + json.dumps(t) for name, t in pairs) + "}").encode()
    text += b" " * r.choice([0, 0, 7])
    size = len(text) + r.choice([0] * 20 + [1, -1, 2**40])
    return bytes_of(r, struct.pack("<Q", max(size, 0)) + text + data)


# ---- npz ----


def npy(r):
    array = np.frombuffer(r.randbytes(48), r.choice(["<f4", "<f8", "<f2", ">f4"]))
    array = array[:r.choice([0, 1, 4, 6])]
    array = array.reshape(r.choice([(-1,), (len(array), 1), (1, len(array))]), order="C")
    out = io.BytesIO()
    np.lib.format.write_array(out, np.asfortranarray(array) if r.random() < 0.3 else array, (r.choice([1, 2]), 0))
    data = out.getvalue()
    if r.random() < 0.3:
        for old, new in ((b"<f4", b"|O8"), (b"<f8", b"<i8"), (b"False", b"True "), (b"'shape': (", b"'shape': (2**"),
                         (b"), }", b",-1), }"), (b"1", b"%d" % r.choice([9, 2**40, 2**70])), (b"{", b"((")):
            if r.random() < 0.2:
                data = data.replace(old, new, 1)
    return bytes_of(r, data, 0.2)


def npz(r):
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w") as z:
        warnings.simplefilter("ignore")
        for _ in range(r.randint(1, 3)):
            name = r.choice(NAMES[:4] * 5 + NAMES[4:10]).encode("utf-8", "replace").decode() + r.choice([".npy"] * 8 + [".txt", ""])
            data = npy(r) if r.random() < 0.97 else bytes(1 << 20)
            z.writestr(zipfile.ZipInfo(name or "x"), data, r.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    return bytes_of(r, out.getvalue())


def bytes_of(r, data, often=0.4):
    """The same bytes, or with a few of them changed."""
    data = bytearray(data)
    if r.random() > often or not data:
        return bytes(data)
    for _ in range(r.choice([1, 1, 2, 5])):
        at = r.randrange(len(data)) if data else 0
        what = r.randrange(5)
        if what == 0 and data:
            data[at] ^= 1 << r.randrange(8)
        elif what == 1 and data:
            data[at] = r.choice([0, 1, 0x7F, 0x80, 0xFF])
        elif what == 2:
            del data[at:]
        elif what == 3:
            data[at:at] = data[r.randrange(len(data) + 1):][:r.randrange(64)]
        else:
            data[at:at + 4] = struct.pack("<I", r.choice([0, 1, 2**31, 2**32 - 1, len(data)]))
    return bytes(data)


# ---- Demands ----


def check_safetensors(path, got):
    """Each byte of the data is in one tensor, by a reading of its own."""
    with open(path, "rb") as f:
        data = f.read()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    data = data[8 + size:]
    used = np.zeros(len(data), int)
    for name, t in header.items():
        begin, end = t["data_offsets"]
        used[begin:end] += 1
        assert got[name][1].nbytes == end - begin and got[name][1].tobytes() == data[begin:end], name
        assert list(got[name][1].shape) == t["shape"], name
    assert (used == 1).all() and set(got) == set(header), "each byte once"


def check_npz(path, got):
    with np.load(path, allow_pickle=False) as want:
        assert sorted(want.files) == sorted(got), "its names"
        for name in want.files:
            assert want[name].shape == got[name][1].shape, name
            assert want[name].astype(got[name][1].dtype).tobytes() == got[name][1].tobytes(), name


# ---- Configurations ----


def config(r):
    ssm = {"layer": "Mamba3", "d_state": 16, "headdim": 8, "ngroups": 1, "is_mimo": True, "mimo_rank": 4, "rope_fraction": 0.5}
    c = r.choice([{"d_model": 32, "n_layer": 2, "vocab_size": 250, "d_intermediate": 64, "ssm_cfg": ssm},
                  {"model_type": "mamba3", "hidden_size": 32, "state_size": 16, "head_dim": 8, "norm_eps": 1e-5}])
    for _ in range(r.randint(0, 2)):
        at = r.choice([c, ssm])
        at[r.choice([*at, "state_size", "attn_layer_idx", "A_floor", "rms_norm", "$(touch x)"])] = r.choice(
            NUMBERS + ["; touch x", [], {}, [1], float("nan"), float("inf"), "Mamba3", 1e-300])
    return bytes_of(r, json.dumps(c).encode(), 0.2)


def flags_one(path):
    try:
        flags = convert_config.flags_of(path)
    except (convert_files.Bad, OSError):
        return "refused"
    assert re.fullmatch(r"--layers \d+ --width \d+ --vocab \d+ [-+\w.:= ]+", flags), flags
    return "taken"


def convert_one(path, target):
    """What became of it: "taken" or "refused"."""
    sys.argv[1:] = [path, target, "--keep-unknown"]
    o = convert.options()
    try:
        convert.convert(o)
    except (convert_files.Bad, OSError):
        assert not os.path.exists(target), "a file was written"
        return "refused"
    reader, check = ((convert_files.read_npz, check_npz) if path.endswith(".npz") else
                     (convert_files.read_safetensors, check_safetensors))
    check(path, reader(path))
    os.remove(target)
    return "taken"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--runs", type=int, default=500)
    p.add_argument("--seed", type=int, default=1)
    o = p.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))
    folder = tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    became = collections.Counter()
    out, sys.stdout = sys.stdout, open(os.devnull, "w")
    for i in range(o.runs):
        for kind, make in (("safetensors", safetensors), ("npz", npz), ("json", config)):
            path = f"{folder}/{o.seed}-{i}.{kind}"
            with open(path, "wb") as f:
                f.write(make(random.Random(f"{o.seed} {i} {kind}")))
            signal.alarm(20)  # one that hangs ends here
            try:
                became[kind, flags_one(path) if kind == "json" else convert_one(path, folder + "/out.h5")] += 1
            except Exception as e:
                if os.path.exists(folder + "/out.h5"):
                    os.remove(folder + "/out.h5")
                became["failed"] += 1
                print(f"FAIL: {path}: {type(e).__name__}: {e}", file=out)
                continue
            os.remove(path)
    signal.alarm(0)
    print(f"{o.runs} safetensors, npz and json files each: {became['safetensors', 'taken']}, {became['npz', 'taken']} and "
          f"{became['json', 'taken']} taken, the others refused, {became['failed']} failed", file=out)
    enough = min(became[k, w] for k in ("safetensors", "npz", "json") for w in ("taken", "refused")) > o.runs // 20
    if not enough:
        print("FAIL: too few were taken, or refused, to show anything", file=out)
    if not became["failed"]:
        shutil.rmtree(folder)
    return 1 if became["failed"] or not enough else 0


sys.exit(main())
