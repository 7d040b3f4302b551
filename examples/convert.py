#!/usr/bin/env python3
"""convert.py - parameters between PyTorch's state dicts or NumPy's files, and files that C reads.

    convert.py pytorch_model.bin model.safetensors    what a released model's folder then has
    convert.py FOLDER FOLDER/model.safetensors        the same of all its pytorch_model*.bin
    convert.py FOLDER NEW                             and as a folder of its own, with its other files
    convert.py model.npz weights.h5                   a file that train_lm --init and a program load
    convert.py weights.h5 model.npz                   and back
    convert.py --check model.pt                       names, types and shapes; writes nothing

The suffix says what a file is: .h5 (needs h5py), .npz and .safetensors (NumPy alone), .pt .pth .bin
(PyTorch). An .h5 has f32 or f64 under the names of flash-linear-attention; a .safetensors keeps all
types and names, and is not read here, because the programs do that. docs/files.md has more.
"""
import argparse
import contextlib
import os
import re
import shutil
import signal
import stat
import sys

sys.dont_write_bytecode = True  # nothing is left beside the sources
from convert_files import (FORMATS, MOST_AXES, NUMPY, Bad, SAFETENSORS, bf16_to_f32, f32_to_bf16, np,
                           pickles_in, reason)

# ---- Names ----

# A mixer names its parameters as it likes: q_proj.weight, f_proj.0.bias, A_log. What does not fit a
# model is refused by the program that loads the file.
MIXER = r"\w+(\.\d+)?(\.(weight|bias))?"
KNOWN = re.compile(
    r"(model\.(embeddings|norm)|lm_head)\.weight|model\.layers\.\d+\."
    rf"((attn|mlp)_norm\.weight|mlp\.(gate|up|down)_proj\.weight|attn\.({MIXER}))"
)
HEAD, EMBEDDINGS = "lm_head.weight", "model.embeddings.weight"


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


def suffix(path, to_read=False):
    found = os.path.splitext(path)[1]
    if found not in FORMATS:
        raise Bad("its suffix is none of " + " ".join(FORMATS))
    if to_read and not FORMATS[found][0]:
        raise Bad("a .safetensors is read by the programs themselves, and by train_lm --init")
    return found


def read(path):
    """The tensors of a file, or of the pickles of a folder."""
    if not os.path.isdir(path):
        return FORMATS[suffix(path, True)][0](path)
    tensors = {}
    for file in pickles_in(path):
        for name, tensor in FORMATS[".bin"][0](file).items():
            if name in tensors:
                raise Bad(f"{name} is in two of its files")
            tensors[name] = tensor
    return tensors


# ---- Converting ----


def check_names(tensors, any_name, any_type):
    unknown = [name for name in tensors if not KNOWN.fullmatch(name)]
    if unknown and not any_name:
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
        if dtype != "bf16" and dtype not in NUMPY and not (any_type and dtype in SAFETENSORS):
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
    tensors = read(o.source)
    container = o.target and suffix(o.target) == ".safetensors" and inward
    check_names(tensors, o.keep_unknown or container, container)
    if not container:
        tie(tensors, inward, o.with_head)
    for name, tensor in tensors.items():
        dtype = o.dtype or ("f32" if inward and not container and tensor[0] != "f64" else tensor[0])
        if dtype in NUMPY or dtype == "bf16":
            tensors[name] = cast(name, tensor, dtype)
    return tensors


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


def other_files(source, target):
    """What of a released model's folder goes along, as it is: configurations, tokenizer, license."""
    for name in sorted(os.listdir(source)):
        path = os.path.join(source, name)
        if re.fullmatch(r"[\w-][^/]*\.(json|jinja|txt|model)|LICENSE.*|NOTICE.*", name) and os.path.isfile(path):
            if not name.startswith("pytorch_model"):
                shutil.copyfile(path, os.path.join(target, name))


def write_folder(o, new, tensors):
    o.at = new
    os.mkdir(new)
    try:
        other_files(o.source, new)
        write(o.target, tensors)
    except BaseException:
        shutil.rmtree(new)
        raise


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
    if o.target and os.path.exists(o.target) and not os.path.isdir(o.target):
        must_be_file(o.target)
    if o.target and not os.path.isdir(o.source):
        suffix(o.target)
    o.at = o.source
    if not os.path.isdir(o.source):
        must_be_file(o.source)
    new = o.target if os.path.isdir(o.source) and o.target and not os.path.splitext(o.target)[1] else None
    if new:
        pickles_in(o.source)
        o.target = os.path.join(new, "model.safetensors")
    inward = os.path.isdir(o.source) or suffix(o.source, True) != ".h5"
    if o.target and inward and suffix(o.target) not in (".h5", ".safetensors"):
        raise Bad("TO is an .h5 or a .safetensors, unless FROM is an .h5")
    if o.target and not inward and suffix(o.target) == ".h5":
        raise Bad("one of FROM and TO is an .h5, not both")
    if o.target and os.path.exists(o.target) and os.path.samefile(o.source, o.target):
        raise Bad(f"{o.target} is the same file, which would be lost")
    if inward and o.dtype in ("f16", "bf16") and (not o.target or suffix(o.target) == ".h5"):
        raise Bad("an .h5 holds f32 or f64")
    tensors = load(o, inward)
    o.at = o.target or "standard output"
    for name, (dtype, array) in tensors.items() if o.check else ():
        print(f"{printable(name):<48} {dtype}[{','.join(map(str, array.shape))}]")
    print(f"{len(tensors)} tensors, {sum(a.size for _, a in tensors.values())} numbers")
    sys.stdout.flush()
    if new and not o.check:
        write_folder(o, new, tensors)
    elif not o.check:
        write(o.target, tensors)


def printable(text):
    """One line of a terminal, whatever a file has for names: of a very long one, its beginning and its end."""
    text = re.sub(r"\S{201,}", lambda name: f"{name[0][:100]}...{name[0][-50:]}", text)
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
