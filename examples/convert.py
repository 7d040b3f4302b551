#!/usr/bin/env python3
"""convert.py - parameters between this library's HDF5 files and PyTorch's state dicts.

    convert.py model.safetensors weights.h5    into a file that train_lm --init and a program can load
    convert.py weights.h5 model.npz            and back
    convert.py --check model.pt                names, types and shapes; writes nothing

The suffix says what a file is: .h5 (needs h5py), .npz and .safetensors (NumPy alone), .pt .pth .bin
(PyTorch). One of the two files is an .h5. Parameters have the names of flash-linear-attention;
names that begin with backbone, as Mamba-2's, are mapped to them, and back by --style mamba2.
docs/files.md describes the file and says what is mapped to what.
"""
import argparse
import json
import os
import pickle
import re
import sys
import zipfile

try:
    import numpy as np
except ImportError as missing:
    sys.exit(f"convert.py: {missing} of {sys.executable}: ./deps.sh installs it for /usr/bin/python3")

# ---- Names ----

# A mixer names its parameters as it likes: q_proj.weight, f_proj.0.bias, A_log. What does not fit a
# model is refused by the program that loads the file.
MIXER = r"\w+(\.\d+)?(\.(weight|bias))?"
KNOWN = re.compile(
    r"(model\.(embeddings|norm)|lm_head)\.weight|model\.layers\.\d+\."
    rf"((attn|mlp)_norm\.weight|mlp\.(gate|up|down)_proj\.weight|attn\.({MIXER}))"
)
HEAD, EMBEDDINGS = "lm_head.weight", "model.embeddings.weight"

# Beginnings of ours, and of a Mamba-2 model's. What lies in a layer under other names keeps them.
MAMBA2 = [
    (r"model\.embeddings\.", "backbone.embeddings."),
    (r"model\.norm\.", "backbone.norm_f."),
    (r"model\.layers\.(\d+)\.attn\.", r"backbone.layers.\1.mixer."),
    (r"model\.layers\.(\d+)\.attn_norm\.", r"backbone.layers.\1.norm."),
    (r"model\.layers\.(\d+)\.", r"backbone.layers.\1."),
]
FROM_MAMBA2 = [
    (r"backbone\.embeddings\.", "model.embeddings."),
    (r"backbone\.norm_f\.", "model.norm."),
    (r"backbone\.layers\.(\d+)\.mixer\.", r"model.layers.\1.attn."),
    (r"backbone\.layers\.(\d+)\.norm\.", r"model.layers.\1.attn_norm."),
    (r"backbone\.layers\.(\d+)\.", r"model.layers.\1."),
]


def renamed(name, table):
    for begin, to in table:
        new, changed = re.subn("^" + begin, to, name)
        if changed:
            return new
    return name


def rename_all(tensors, table):
    out = {}
    for name, tensor in tensors.items():
        new = renamed(name, table)
        if new in out:
            raise ValueError(f"two tensors would be {new}")
        out[new] = tensor
    return out


# ---- Element types ----

# A tensor is a pair: its type as text, and an array of it; bf16, which NumPy lacks, as uint16.
SAFETENSORS = {"f16": "<f2", "bf16": "<u2", "f32": "<f4", "f64": "<f8"}
NUMPY = {"f16": np.float16, "f32": np.float32, "f64": np.float64}


def tensor_of(array):
    names = {np.dtype(t): name for name, t in NUMPY.items()}
    return names.get(array.dtype.newbyteorder("="), str(array.dtype)), array


def bf16_to_f32(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def f32_to_bf16(x):
    bits = x.view(np.uint32)
    nearest = (bits + (0x7FFF + (bits >> 16 & 1)).astype(np.uint32)) >> 16  # ties to even
    return np.where(np.isnan(x), bits >> 16 | 0x40, nearest).astype(np.uint16)


def cast(name, tensor, want):
    have, array = tensor
    if have == want:
        return tensor
    wide = bf16_to_f32(array) if have == "bf16" else array
    with np.errstate(over="ignore"):
        if want == "bf16":
            array = f32_to_bf16(np.ascontiguousarray(wide, np.float32))
            new = bf16_to_f32(array)
        else:
            new = array = wide.astype(NUMPY[want])
    if np.isfinite(wide).all() and not np.isfinite(new).all():
        print(f"convert.py: note: {name} has numbers too large for {want}: inf", file=sys.stderr)
    return want, array


# ---- Formats ----


def read_h5(path):
    import h5py

    out = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            out[name] = tensor_of(item[...])

    with h5py.File(path, "r") as f:
        if "params" not in f:
            raise ValueError("there is no group /params in it")
        f["params"].visititems(visit)
    return out


def write_h5(path, tensors):
    import h5py

    with h5py.File(path, "w") as f:
        f.attrs["creator"] = np.bytes_("palimpsest convert.py")
        f.attrs["format"] = np.bytes_("palimpsest arrays 1")
        f.create_group("params")
        for name, (dtype, array) in tensors.items():
            f["params"].create_dataset(name, data=array).attrs["dtype"] = np.bytes_(dtype)


def read_npz(path):
    with np.load(path, allow_pickle=False) as f:
        return {name: tensor_of(f[name]) for name in f.files}


def write_npz(path, tensors):
    if any(dtype == "bf16" for dtype, _ in tensors.values()):
        raise ValueError("NumPy has no bf16: choose another --dtype or format")
    with open(path, "wb") as f:
        np.savez(f, **{name: array for name, (_, array) in tensors.items()})


def read_safetensors(path):
    """Eight bytes of length, a JSON header of that length, and the numbers."""
    out = {}
    with open(path, "rb") as f:
        size = int.from_bytes(f.read(8), "little")
        if size > os.fstat(f.fileno()).st_size:
            raise ValueError("it is no safetensors file")
        try:
            header = json.loads(f.read(size))
            data = memoryview(f.read())
            header.pop("__metadata__", None)
            for name, t in header.items():
                begin, end = t["data_offsets"]
                plain = SAFETENSORS.get(t["dtype"].lower())
                if plain:
                    array = np.frombuffer(data[begin:end], plain).reshape(t["shape"])
                out[name] = t["dtype"].lower(), array if plain else np.empty(0)
        except (AttributeError, KeyError, TypeError, ValueError) as e:
            raise ValueError(f"its header does not fit its data ({e})") from e
    return out


def write_safetensors(path, tensors):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, array) in tensors.items():
        header[name] = {"dtype": dtype.upper(), "shape": list(array.shape),
                        "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the numbers begin at a multiple of 8
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for dtype, array in tensors.values():
            f.write(np.ascontiguousarray(array, SAFETENSORS[dtype]).tobytes())


def read_torch(path):
    import torch

    out = {}
    state = torch.load(path, map_location="cpu", weights_only=True)
    state = state.get("state_dict", state)
    for name, t in state.items():
        if not isinstance(t, torch.Tensor):
            raise ValueError(f"{name} is no tensor")
        t = t.detach().contiguous()
        if t.dtype == torch.bfloat16:
            out[name] = "bf16", t.view(torch.int16).numpy().view(np.uint16)
        else:
            out[name] = tensor_of(t.numpy())
    return out


def write_torch(path, tensors):
    import torch

    state = {}
    for name, (dtype, array) in tensors.items():
        bits = np.array(array.view(np.int16) if dtype == "bf16" else array)  # a writable copy
        state[name] = torch.from_numpy(bits)
        if dtype == "bf16":
            state[name] = state[name].view(torch.bfloat16)
    torch.save(state, path)


FORMATS = {
    ".h5": (read_h5, write_h5),
    ".npz": (read_npz, write_npz),
    ".safetensors": (read_safetensors, write_safetensors),
    ".pt": (read_torch, write_torch),
    ".pth": (read_torch, write_torch),
    ".bin": (read_torch, write_torch),
}


def suffix(path):
    found = os.path.splitext(path)[1]
    if found not in FORMATS:
        raise ValueError("its suffix is none of " + " ".join(FORMATS))
    return found


# ---- Converting ----


def check_names(tensors, keep_unknown):
    unknown = [name for name in tensors if not KNOWN.fullmatch(name)]
    if unknown and not keep_unknown:
        more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
        raise ValueError(
            f"{len(unknown)} names are unknown (--keep-unknown takes them as they are): "
            + ", ".join(unknown[:8]) + more
        )
    for name, (dtype, _) in tensors.items():
        if dtype != "bf16" and dtype not in NUMPY:
            raise ValueError(f"{name} is {dtype}: only f16, bf16, f32 and f64 are converted")


def tie(tensors, inward, with_head):
    """A tied head is no parameter of ours; some state dicts repeat the embeddings as one."""
    if EMBEDDINGS not in tensors:
        return
    dtype, array = tensors[EMBEDDINGS]
    if with_head:
        tensors.setdefault(HEAD, tensors[EMBEDDINGS])
    elif inward and HEAD in tensors:
        head_dtype, head = tensors[HEAD]
        same = head_dtype == dtype and head.shape == array.shape
        if same and head.tobytes() == array.tobytes():
            del tensors[HEAD]
            print(f"{HEAD} equals {EMBEDDINGS}: a tied head, left out")


def load(o, inward):
    """The tensors to write, under the names to write them by."""
    tensors = FORMATS[suffix(o.source)][0](o.source)
    if inward:
        tensors = rename_all(tensors, FROM_MAMBA2)
    check_names(tensors, o.keep_unknown)
    tie(tensors, inward, o.with_head)
    for name, tensor in tensors.items():
        dtype = o.dtype or ("f32" if inward and tensor[0] != "f64" else tensor[0])
        tensors[name] = cast(name, tensor, dtype)
    return tensors if inward or o.style == "fla" else rename_all(tensors, MAMBA2)


def write(path, tensors):
    """The file appears whole or not at all."""
    fresh = path + ".tmp"
    try:
        FORMATS[suffix(path)][1](fresh, tensors)
        os.replace(fresh, path)
    finally:
        if os.path.exists(fresh):
            os.remove(fresh)


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("source", metavar="FROM")
    p.add_argument("target", metavar="TO", nargs="?")
    p.add_argument("--style", choices=["fla", "mamba2"], default="fla",
                   help="names of a file that is not .h5 when it is written (fla)")
    p.add_argument("--dtype", choices=["f16", "bf16", "f32", "f64"],
                   help="of all that is written; else f32 in an .h5 (f64 stays), and what there is")
    p.add_argument("--check", action="store_true", help="print what would be written, and do not")
    p.add_argument("--keep-unknown", action="store_true", help="take unknown names as they are")
    p.add_argument("--with-head", action="store_true",
                   help=f"{HEAD} is there, though it equals the embeddings")
    o = p.parse_args()
    if not o.target and not o.check:
        p.error("TO is missing")
    return o


def main():
    o = options()
    at = o.source
    try:
        inward = suffix(o.source) != ".h5"
        if o.target and (suffix(o.target) == ".h5") != inward:
            raise ValueError("one of FROM and TO is an .h5, not both")
        if inward and o.dtype in ("f16", "bf16"):
            raise ValueError("an .h5 holds f32 or f64")
        tensors = load(o, inward)
        at = o.target
        for name, (dtype, array) in tensors.items() if o.check else ():
            print(f"{name:<48} {dtype}[{','.join(map(str, array.shape))}]")
        print(f"{len(tensors)} tensors, {sum(a.size for _, a in tensors.values())} numbers")
        if not o.check:
            write(o.target, tensors)
    except ImportError as e:
        sys.exit(f"convert.py: {at}: this format needs the package {e.name}")
    except (OSError, ValueError, RuntimeError, pickle.PickleError, zipfile.BadZipFile) as e:
        sys.exit(f"convert.py: {at}: {e}")


if __name__ == "__main__":
    main()
