"""weights.py [--runs N] [--seed N] - mutated npz files for examples/convert.py, in one process.

Every file is converted, or refused by an error that convert.py raises itself. What is converted is compared with
NumPy's reading. A file that fails stays in the folder that is printed.
"""
import argparse
import collections
import io
import os
import random
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
import convert_files

NAMES = ["model.norm.weight", "lm_head.weight", "model.layers.0.attn.A_log", "model.layers.0.mlp.up_proj.weight", "",
         ".", "a/b", "/a", "a\0b", "\ud800", "\x1b[0m\n", "__metadata__", "backbone.norm_f.weight"]


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


def check_npz(path, got):
    with np.load(path, allow_pickle=False) as want:
        assert sorted(want.files) == sorted(got), "its names"
        for name in want.files:
            assert want[name].shape == got[name][1].shape, name
            assert want[name].astype(got[name][1].dtype).tobytes() == got[name][1].tobytes(), name


def convert_one(path, target):
    """What became of it: "taken" or "refused"."""
    sys.argv[1:] = [path, target, "--keep-unknown"]
    o = convert.options()
    try:
        convert.convert(o)
    except (convert_files.Bad, OSError):
        assert not os.path.exists(target), "a file was written"
        return "refused"
    check_npz(path, convert_files.read_npz(path))
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
        path = f"{folder}/{o.seed}-{i}.npz"
        with open(path, "wb") as f:
            f.write(npz(random.Random(f"{o.seed} {i} npz")))
        signal.alarm(20)  # one that hangs ends here
        try:
            became[convert_one(path, folder + "/out.h5")] += 1
        except Exception as e:
            if os.path.exists(folder + "/out.h5"):
                os.remove(folder + "/out.h5")
            became["failed"] += 1
            print(f"FAIL: {path}: {type(e).__name__}: {e}", file=out)
            continue
        os.remove(path)
    signal.alarm(0)
    print(f"{o.runs} npz files: {became['taken']} taken, the others refused, {became['failed']} failed", file=out)
    enough = min(became["taken"], became["refused"]) > o.runs // 20
    if not enough:
        print("FAIL: too few were taken, or refused, to show anything", file=out)
    if not became["failed"]:
        shutil.rmtree(folder)
    return 1 if became["failed"] or not enough else 0


sys.exit(main())
