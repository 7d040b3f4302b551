"""The shared library by ctypes: the structs of layers/kernel.h, and where the file is."""

import ctypes
import os

import torch  # before the library: both then use the OpenMP runtime that torch has loaded

MAX_DIMS, MAX_IN, MAX_OUT = 8, 20, 5
DTYPES = {torch.float32: 0, torch.float64: 1, torch.int64: 2}
MODES = {"auto": 0, "recurrent": 2, "chunk": 3}


class Array(ctypes.Structure):
    _fields_ = [
        ("dtype", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("shape", ctypes.c_int64 * MAX_DIMS),
        ("stride", ctypes.c_int64 * MAX_DIMS),
        ("data", ctypes.c_void_p),
    ]


class Shape(ctypes.Structure):
    _fields_ = [("ndim", ctypes.c_int), ("dim", ctypes.c_int64 * MAX_DIMS)]


class Opts(ctypes.Structure):
    _fields_ = [
        ("scale", ctypes.c_double),
        ("lower_bound", ctypes.c_double),
        ("eps", ctypes.c_double),
        ("chunk", ctypes.c_int64),
        ("keep_every", ctypes.c_int64),
        ("window", ctypes.c_int64),
        ("groups", ctypes.c_int64),
        ("mode", ctypes.c_int),
        ("pair", ctypes.c_int),
        ("gate", ctypes.c_int),
        ("normalize", ctypes.c_bool),
        ("silu", ctypes.c_bool),
        ("gate_first", ctypes.c_bool),
    ]


class Call(ctypes.Structure):
    _fields_ = [
        ("inputs", ctypes.POINTER(Array) * MAX_IN),
        ("out", ctypes.POINTER(Array) * MAX_OUT),
        ("dout", ctypes.POINTER(Array) * MAX_OUT),
        ("din", ctypes.POINTER(Array) * MAX_IN),
        ("opts", Opts),
        ("threads", ctypes.c_int),
        ("keep", ctypes.c_void_p),
        ("keep_bytes", ctypes.c_size_t),
        ("scratch", ctypes.c_void_p),
        ("scratch_bytes", ctypes.c_size_t),
    ]


class Sizes(ctypes.Structure):
    _fields_ = [
        ("out", Shape * MAX_OUT),
        ("keep", ctypes.c_size_t),
        ("forward", ctypes.c_size_t),
        ("backward", ctypes.c_size_t),
    ]


class Error(ctypes.Structure):
    _fields_ = [("status", ctypes.c_int), ("message", ctypes.c_char * 1024)]


def _candidates():
    named = os.environ.get("PALIMPSEST_LIBRARY")
    if named:
        return [named]
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
    return [os.path.normpath(os.path.join(root, "build", "libpalimpsest.so")), "libpalimpsest.so.0"]


def _load():
    problems = []
    for name in _candidates():
        try:
            return ctypes.CDLL(name)
        except OSError as problem:
            problems.append(str(problem))
    raise ImportError(
        "palimpsest_torch finds no libpalimpsest.so (make lib builds it; PALIMPSEST_LIBRARY names it): "
        + "; ".join(problems)
    )


lib = _load()
if not hasattr(lib, "pal_kernel_measure"):
    raise ImportError("palimpsest_torch: this libpalimpsest.so is older than layers/kernel.h; build it again")
lib.pal_kernel_find.restype = ctypes.c_void_p
lib.pal_kernel_find.argtypes = [ctypes.c_char_p]
lib.pal_kernels_in_use.restype = ctypes.c_char_p
for _name, _more in (("measure", [ctypes.POINTER(Sizes)]), ("forward", []), ("backward", [])):
    _function = getattr(lib, "pal_kernel_" + _name)
    _function.argtypes = [ctypes.c_void_p, ctypes.POINTER(Call), *_more, ctypes.POINTER(Error)]


def find(name):
    return lib.pal_kernel_find(name.encode())


def check(status, error):
    """Raises what a kernel refused: TypeError for dtypes, else ValueError."""
    if status:
        message = error.message.decode(errors="replace")
        raise TypeError(message) if status == 2 else ValueError(message)


def describe():
    """One line: instruction set and number of threads."""
    return lib.pal_kernels_in_use().decode()


def one_runtime():
    """Whether torch and the library share one OpenMP runtime: its number of threads is then the same."""
    before = torch.get_num_threads()
    try:
        same = True
        for n in (before + 1, before):
            torch.set_num_threads(n)
            same = same and lib.pal_threads() == n
        return same
    finally:
        torch.set_num_threads(before)
