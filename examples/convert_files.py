"""convert_files.py - the files that convert.py reads and writes: HDF5, .npz, PyTorch; .safetensors it writes.

Files come from elsewhere and are not trusted: what one claims to hold is compared with what it has
before memory is taken for it. Each reader returns {name: (type, array)} or raises Bad with one
sentence.
"""
import ast
import collections
import json
import os
import pickle
import re
import resource
import signal
import struct
import sys
import zipfile
import zlib

try:
    import numpy as np
except ImportError as missing:
    sys.exit(f"convert.py: {missing} of {sys.executable}: ./deps.sh installs it for /usr/bin/python3")

# ---- Element types ----

# A tensor is a pair: its type as text, and an array of it; bf16, which NumPy lacks, as uint16.
SAFETENSORS = {"f16": ("F16", "<f2"), "bf16": ("BF16", "<u2"), "f32": ("F32", "<f4"), "f64": ("F64", "<f8"),
               "bool": ("BOOL", "|b1"), "uint8": ("U8", "|u1"), "int8": ("I8", "|i1"), "int16": ("I16", "<i2"),
               "int32": ("I32", "<i4"), "int64": ("I64", "<i8")}
NUMPY = {"f16": np.float16, "f32": np.float32, "f64": np.float64}


def tensor_of(array):
    names = {np.dtype(t): name for name, t in NUMPY.items()}
    native = array.dtype.newbyteorder("=")
    return names.get(native, str(native)), array.astype(native, copy=False)


def bf16_to_f32(bits):
    wide = bits.astype(np.uint32)
    np.left_shift(wide, np.uint32(16), out=wide)  # in place, which leaves a tensor without axes an array
    return wide.view(np.float32)


def f32_to_bf16(x):
    bits = x.view(np.uint32)
    nearest = (bits + (0x7FFF + (bits >> 16 & 1)).astype(np.uint32)) >> 16  # ties to even
    return np.where(np.isnan(x), bits >> 16 | 0x40, nearest).astype(np.uint16)


# ---- Limits ----

# What a file unpacks to may be so many times its size, beyond a part that every file may have.
MOST_TIMES, SMALL = 256, 64 << 20
MOST_AXES = 8  # of a tensor of ours
DEEPEST = 32  # groups within groups of an HDF5 file


class Bad(ValueError):
    """What is wrong with a file, in one sentence."""


def elements(name, shape):
    """How many numbers a shape has."""
    if not isinstance(shape, (list, tuple)) or not all(type(n) is int for n in shape):
        raise Bad(f"the shape of {name} is no list of whole numbers")
    if len(shape) > MOST_AXES:
        raise Bad(f"{name} has {len(shape)} axes, and {MOST_AXES} are the most")
    count = 1
    for n in shape:
        if not 0 <= n < 1 << 48:
            raise Bad(f"{name} has an axis of length {n}")
        count *= max(n, 1)  # an axis of length 0 does not allow others of any length
    if count >= 1 << 48:
        raise Bad(f"{name} would have {count} numbers")
    return count if 0 not in shape else 0


def check_unpacked(total, path):
    """Refuses what a file claims to hold before any of it is read."""
    size = os.path.getsize(path)
    if total > SMALL + MOST_TIMES * size:
        raise Bad(f"its {size} bytes would become {total}, more than {MOST_TIMES} times as many")


def datasets_of(group, depth=0, at=""):
    """(name, dataset) of a group and of those in it. The order is that of the file, because a
    damaged file makes HDF5 1.10 crash where it sorts links itself."""
    import h5py

    names = []
    group.id.links.iterate(names.append, order=h5py.h5.ITER_NATIVE)
    for raw in names:
        name = raw.decode("utf-8", "backslashreplace")
        if name.encode() != raw:
            raise Bad(f"the name {at + name} is no UTF-8")
        if depth == DEEPEST:
            raise Bad(f"it has more than {DEEPEST} groups within each other")
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise Bad(f"{at + name} is a link to somewhere else")
        item = group[name]
        if isinstance(item, h5py.Group):
            yield from datasets_of(item, depth + 1, at + name + "/")
        elif isinstance(item, h5py.Dataset):
            yield at + name, item


def stored(name, d):
    """How many bytes a dataset has, which has to store all of them."""
    import h5py

    plan = d.id.get_create_plist()
    if d.dtype.kind not in "biuf":
        raise Bad(f"{name} has elements of type {d.dtype}")
    size = elements(name, d.shape) * d.dtype.itemsize
    if plan.get_layout() == h5py.h5d.CHUNKED:
        filters = sorted(plan.get_filter(i)[0] for i in range(plan.get_nfilters()))
        if filters not in ([], [h5py.h5z.FILTER_DEFLATE], [h5py.h5z.FILTER_SHUFFLE],
                           [h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE]):
            raise Bad(f"{name} has filters other than deflate and shuffle, or one of them twice")
        if np.prod(plan.get_chunk(), dtype=object) * d.dtype.itemsize > SMALL + size:
            raise Bad(f"{name} has chunks that are larger than itself")
    elif plan.get_layout() != h5py.h5d.CONTIGUOUS or plan.get_external_count():
        raise Bad(f"{name} is neither contiguous nor in chunks")
    elif d.id.get_storage_size() != size:
        raise Bad(f"{name} stores {d.id.get_storage_size()} bytes, and its shape has {size}")
    return size


def read_h5_here(path):
    import h5py

    with h5py.File(path, "r") as f:
        if not isinstance(f.get("params"), h5py.Group):
            raise Bad("there is no group /params in it")
        found = []
        for name, d in datasets_of(f["params"]):
            found.append((name, d, stored(name, d)))
            if len(found) > 1 << 16:
                raise Bad("it has more than 65536 tensors")
        check_unpacked(sum(size for _, _, size in found), path)
        return {name: tensor_of(d[...]) for name, d, _ in found}


def limit(which, to):
    """Of this process, unless it has a lower one."""
    least = resource.getrlimit(which)[1]
    to = to if least == resource.RLIM_INFINITY else min(to, least)
    resource.setrlimit(which, (to, to))


def reason(e):
    """What an exception says."""
    if isinstance(e, KeyError) and e.args:
        text = str(e.args[0])  # str(e) would have it in quotes
        return text if " " in text else f"there is no readable object of the name {text}"
    return getattr(e, "strerror", None) or str(e) or type(e).__name__


def address_space():
    """How many bytes this process has; None: there is no /proc to say it."""
    try:
        with open("/proc/self/statm") as f:
            return int(f.read().split()[0]) * resource.getpagesize()
    except FileNotFoundError:
        return None


def read_h5(path):
    """In a process of its own, because HDF5 crashes on some damaged files. It has limits of time and memory."""
    import h5py  # that it is missing is said here

    with open(path, "rb") as f:  # and what the system says
        size = os.fstat(f.fileno()).st_size
    come, go = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            now = address_space()
            if now is not None:
                limit(resource.RLIMIT_AS, now + 16 * SMALL + 4 * MOST_TIMES * size)
            limit(resource.RLIMIT_CPU, 30 + (size >> 24))
            result = read_h5_here(path)
        except MemoryError:
            result = "there is not enough memory for what it holds"
        except Exception as e:  # of h5py
            result = reason(e)
        with os.fdopen(go, "wb") as f:
            pickle.dump(result, f, protocol=4)
        os._exit(0)
    os.close(go)
    with os.fdopen(come, "rb") as f:
        try:
            result = pickle.load(f)
        except (EOFError, pickle.UnpicklingError):
            result = None
    status = os.waitpid(child, 0)[1]
    if result is None or status:
        how = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"status {status}"
        raise Bad(f"HDF5 does not get through it ({how}): it is damaged")
    if isinstance(result, str):
        raise Bad(result)
    return result


def write_h5(path, tensors):
    """Made in memory, because HDF5 crashes at the end of a program whose disk was full."""
    import h5py

    with h5py.File(path, "w", driver="core", backing_store=False) as f:
        f.attrs["creator"] = np.bytes_("palimpsest convert.py")
        f.attrs["format"] = np.bytes_("palimpsest arrays 1")
        f.create_group("params")
        for name, (dtype, array) in tensors.items():
            f["params"].create_dataset(name, data=array).attrs["dtype"] = np.bytes_(dtype)
        f.flush()
        image = f.id.get_file_image()
    with open(path, "wb") as f:
        f.write(image)


def npy_header(name, data):
    """(dtype, shape, whether columns come first, where the numbers begin) of an .npy in memory."""
    if data[:6] != b"\x93NUMPY" or len(data) < 12 or data[6] not in (1, 2, 3):
        raise Bad(f"{name} is no .npy")
    wide = 2 if data[6] == 1 else 4
    begin = 8 + wide + int.from_bytes(data[8:8 + wide], "little")
    if begin > min(len(data), 1 << 14):
        raise Bad(f"{name} has a header of {begin} bytes")
    try:
        header = ast.literal_eval(data[8 + wide:begin].decode("utf-8" if data[6] == 3 else "latin1").strip(" \n"))
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as e:
        raise Bad(f"{name} has a header that is no dictionary") from e
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise Bad(f"{name} has a header without descr, fortran_order and shape, or with more")
    descr, columns, shape = header["descr"], header["fortran_order"], header["shape"]
    if not isinstance(descr, str) or not re.fullmatch(r"[<>|=]?(b1|[iu][1248]|f(2|4|8|16)|c(8|16|32))", descr):
        raise Bad(f"{name} has elements of type {descr!r}")
    if type(columns) is not bool or not isinstance(shape, tuple):
        raise Bad(f"{name} has a header whose order or shape is none")
    return np.dtype(descr), shape, columns, begin


def npz_entries(z, path):
    """The entries of an archive, each of which has its own bytes and its own name."""
    names, end = set(), 0
    for entry in sorted(z.infolist(), key=lambda e: e.header_offset):
        if not entry.filename.endswith(".npy"):
            raise Bad(f"{entry.filename} in it is no .npy")
        if entry.filename in names:
            raise Bad(f"{entry.filename} is there twice")
        if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Bad(f"{entry.filename} is encrypted, or compressed by something else than deflate")
        if entry.header_offset < end:
            raise Bad(f"{entry.filename} lies in the bytes of another entry")
        end = entry.header_offset + 30 + entry.compress_size
        names.add(entry.filename)
    check_unpacked(sum(e.file_size for e in z.infolist()), path)
    return z.infolist()


def read_npz(path):
    out = {}
    try:
        with zipfile.ZipFile(path) as z:
            for entry in npz_entries(z, path):
                with z.open(entry) as f:
                    data = f.read()  # to the end: then the CRC is compared
                name = entry.filename[:-4]
                if len(data) != entry.file_size:
                    raise Bad(f"{name} has {len(data)} bytes and claims {entry.file_size}")
                dtype, shape, columns, begin = npy_header(name, data)
                if elements(name, shape) * dtype.itemsize != len(data) - begin:
                    raise Bad(f"{name} has {len(data) - begin} bytes, which is not what its shape {shape} takes")
                array = np.frombuffer(data, dtype, offset=begin)
                out[name] = tensor_of(array.reshape(shape, order="F" if columns else "C"))
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, OverflowError,
            RuntimeError) as e:
        raise Bad(f"the archive is damaged ({e})") from e
    return out


def write_npz(path, tensors):
    if any(dtype == "bf16" for dtype, _ in tensors.values()):
        raise Bad("NumPy has no bf16: choose another --dtype or format")
    with open(path, "wb") as f:
        np.savez(f, **{name: array for name, (_, array) in tensors.items()})


def write_safetensors(path, tensors):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, array) in tensors.items():
        header[name] = {"dtype": SAFETENSORS[dtype][0], "shape": list(array.shape),
                        "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the numbers begin at a multiple of 8
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for dtype, array in tensors.values():
            f.write(np.ascontiguousarray(array, SAFETENSORS[dtype][1]).tobytes())


def read_torch(path):
    import torch

    out = {}
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # its reader has no kind of error of its own
        raise Bad(f"PyTorch does not read it ({type(e).__name__}: {e})") from e
    state = state.get("state_dict", state) if isinstance(state, dict) else None
    if not isinstance(state, dict):
        raise Bad("it holds no dictionary of tensors")
    for name, t in state.items():
        if not isinstance(name, str) or not isinstance(t, torch.Tensor) or t.layout != torch.strided:
            raise Bad(f"{name} is no tensor that is stored as numbers")
        t = t.detach().contiguous()
        if t.dtype == torch.bfloat16:
            out[name] = "bf16", t.view(torch.int16).numpy().view(np.uint16)
        else:
            out[name] = tensor_of(t.numpy())
    return out


def pickles_in(folder):
    """The files of a released model's parameters, of which there may be several."""
    names = sorted(n for n in os.listdir(folder) if re.fullmatch(r"pytorch_model(-\d+-of-\d+)?\.bin", n))
    if not names:
        raise Bad("it has no pytorch_model.bin")
    return [os.path.join(folder, n) for n in names]


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
    ".safetensors": (None, write_safetensors),
    ".pt": (read_torch, write_torch),
    ".pth": (read_torch, write_torch),
    ".bin": (read_torch, write_torch),
}
