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
import contextlib
import os
import re
import signal
import stat
import sys

sys.dont_write_bytecode = True  # nothing is left beside the sources
from convert_files import FORMATS, MOST_AXES, NUMPY, Bad, bf16_to_f32, f32_to_bf16, np, reason

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
            raise Bad(f"two tensors would be {new}")
        out[new] = tensor
    return out


# ---- Types and formats ----


def cast(name, tensor, want):
    have, array = tensor
    if have == want:
        return tensor
    wide = bf16_to_f32(array) if have == "bf16" else array
    with np.errstate(over="ignore"):
        if want == "bf16":
            array = f32_to_bf16(np.asarray(wide, np.float32, order="C"))
            new = bf16_to_f32(array)
        else:
            new = array = wide.astype(NUMPY[want])
    if np.isfinite(wide).all() and not np.isfinite(new).all():
        print(f"convert.py: note: {name} has numbers too large for {want}: inf", file=sys.stderr)
    return want, array


def suffix(path):
    found = os.path.splitext(path)[1]
    if found not in FORMATS:
        raise Bad("its suffix is none of " + " ".join(FORMATS))
    return found


# ---- Converting ----


def check_names(tensors, keep_unknown):
    unknown = [name for name in tensors if not KNOWN.fullmatch(name)]
    if unknown and not keep_unknown:
        more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
        raise Bad(
            f"{len(unknown)} names are unknown (--keep-unknown takes them as they are): "
            + ", ".join(unknown[:8]) + more
        )
    for name, (dtype, array) in tensors.items():
        if not name.isascii() and name.encode("utf-8", "ignore").decode() != name:
            raise Bad(f"the name {name!r} is no text")
        if "\0" in name or any(part in ("", ".") for part in name.split("/")):
            raise Bad(f"the name {name!r} is none that a file can hold")
        if dtype != "bf16" and dtype not in NUMPY:
            raise Bad(f"{name} is {dtype}: only f16, bf16, f32 and f64 are converted")
        if array.ndim > MOST_AXES:
            raise Bad(f"{name} has {array.ndim} axes, and {MOST_AXES} are the most")


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


def flush(path):
    """A file or a folder is on disk."""
    at = os.open(path, os.O_RDONLY)
    try:
        os.fsync(at)
    finally:
        os.close(at)


def write(path, tensors):
    """The file appears whole or not at all."""
    fresh = f"{path}.tmp-{os.getpid()}"
    os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        FORMATS[suffix(path)][1](fresh, tensors)
        flush(fresh)
        os.replace(fresh, path)
        flush(os.path.dirname(path) or ".")
    finally:
        with contextlib.suppress(FileNotFoundError):
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


def must_be_file(path):
    """A pipe would be waited for or replaced, and a device may have no end."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise Bad(f"it is {what}, and a file is wanted")


def convert(o):
    """All of it; o.at is the file that an error is about."""
    o.at = "standard output"
    if sys.stdout is None:
        raise Bad("it is closed")
    o.at = o.target
    outward = o.target and suffix(o.target) != ".h5"
    if o.target and os.path.exists(o.target):
        must_be_file(o.target)
    o.at = o.source
    inward = suffix(o.source) != ".h5"
    must_be_file(o.source)
    if o.target and outward == inward:
        raise Bad("one of FROM and TO is an .h5, not both")
    if o.target and os.path.exists(o.target) and os.path.samefile(o.source, o.target):
        raise Bad(f"{o.target} is the same file, which would be lost")
    if inward and o.dtype in ("f16", "bf16"):
        raise Bad("an .h5 holds f32 or f64")
    tensors = load(o, inward)
    o.at = o.target or "standard output"
    for name, (dtype, array) in tensors.items() if o.check else ():
        print(f"{printable(name):<48} {dtype}[{','.join(map(str, array.shape))}]")
    print(f"{len(tensors)} tensors, {sum(a.size for _, a in tensors.values())} numbers")
    sys.stdout.flush()
    if not o.check:
        write(o.target, tensors)


def printable(text):
    """One line of a terminal, whatever a file has for names."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def sentence(o):
    """None, or what went wrong."""
    try:
        convert(o)
    except ImportError as e:
        return f"this format needs the package {e.name}"
    except MemoryError:
        return "there is not enough memory"
    except (Bad, OSError, ValueError) as e:
        return reason(e)
    except Exception as e:  # of a package that reads or writes a format
        return f"{type(e).__name__}: {reason(e)}"
    return None


def stopped(number, _):
    raise OSError(f"stopped by {signal.Signals(number).name}")


def main():
    o = options()
    for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, stopped)
    wrong = sentence(o)
    if wrong is None:
        return
    # What stdout did not take is not written once more at the end. If it is closed, there is none.
    with contextlib.suppress(OSError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(printable(f"convert.py: {o.at}: {wrong}")[:2000])


if __name__ == "__main__":
    main()
