#!/bin/sh
# test_convert_files.sh - examples/convert.py and files that are wrong: each is refused by one sentence
# that says what is wrong, and nothing is written. tests/fuzz/weights.py makes many more.
set -u
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
failed=0

python=
for p in python3 /usr/bin/python3; do
    if [ -z "$python" ] && "$p" -c 'import h5py, numpy' 2>/dev/null; then python=$p; fi
done
if [ -z "$python" ]; then
    echo "note: skipped: no python3 with h5py and numpy; ./deps.sh installs them"
    exit 0
fi
fail() {
    echo "FAIL: $*"
    failed=1
}
# Status 1, one line with these words, and no file that was not there. A start of Python takes longer than a refusal: one
# process refuses what is told together, unless PAL_TEST_ALL=1 asks for what a user sees.
refuses() { # words FROM TO
    if [ "${PAL_TEST_ALL:-0}" = 1 ]; then refuses_alone "$@"; else printf '%s\n' "$@" >>"$dir/told"; fi
}
refuses_told() {
    [ -s "$dir/told" ] || return
    "$python" - "$dir" <<'PY' || failed=1
import os, sys
sys.path.insert(0, "examples")
import convert
folder = sys.argv[1]
lines = open(folder + "/told").read().split("\n")[:-1]
bad = len(lines) % 3 or not lines
before = os.listdir(folder)
for words, source, target in zip(*(lines[i::3] for i in range(3))):
    sys.argv[1:] = [source, target]
    o = convert.options()
    wrong = convert.sentence(o)
    said = convert.printable(f"convert.py: {o.at}: {wrong}")[:2000] # as in main()
    if wrong is None or words not in said or "\n" in said or os.listdir(folder) != before:
        print(f"FAIL: {source} to {target}: {said!r}, and {words!r} is expected")
        bad = 1
sys.exit(bad)
PY
    rm "$dir/told"
}
refuses_alone() { # words FROM TO
    before=$(ls "$dir")
    "$python" examples/convert.py "$2" "$3" >"$dir/out" 2>"$dir/err"
    status=$?
    [ $status = 1 ] || fail "${2##*/}: status $status: $(cat "$dir/err")"
    [ "$(wc -l <"$dir/err")" = 1 ] || fail "${2##*/}: no sentence but $(cat "$dir/err")"
    grep -qF -e "$1" "$dir/err" || fail "${2##*/}: no word of $1: $(cat "$dir/err")"
    [ "$before" = "$(ls "$dir")" ] || fail "${2##*/}: a file was written: $(ls "$dir")"
}
touch "$dir/out" "$dir/err"

# In one process, which is sooner done.
"$python" - "$dir" <<'PY' || failed=1
import io, os, struct, sys, warnings, zipfile
import h5py, numpy as np
sys.path.insert(0, "examples")
import convert
folder = sys.argv[1] + "/"
made = bad = 0

def wrong(kind, data, words):
    global made, bad
    made += 1
    path = f"{folder}{made}.{kind}"
    with open(path, "wb") as f:
        f.write(data)
    before = os.listdir(folder)
    sys.argv[1:] = [path, folder + ("no.npz" if kind == "h5" else "no.h5")]
    said = convert.sentence(convert.options())
    if said is None or words not in said or os.listdir(folder) != before:
        print(f"FAIL: {path}: {said!r}, and {words!r} is expected")
        bad = 1

A = "model.norm.weight"
def npy(shape=(2,), descr="<f4", data=b"\0" * 8, text=None):
    text = (text or repr({"descr": descr, "fortran_order": False, "shape": shape})).encode() + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + data

def archive(entries, how=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(out, "w", how) as z:
            for name, data in entries:
                z.writestr(name, data)
    return out.getvalue()

whole = archive([(A + ".npy", npy())])
for data, words in (
    (archive([("a.txt", b"hello")]), "a.txt in it is no .npy"),
    (archive([(A + ".npy", b"hello")]), "is no .npy"),
    (archive([(A + ".npy", npy()), (A + ".npy", npy())]), "is there twice"),
    (archive([(A + ".npy", npy((2**40,)))]), "not what its shape"),
    (archive([(A + ".npy", npy((-2,)))]), "an axis of length -2"),
    (archive([(A + ".npy", npy((True,) * 2))]), "no list of whole numbers"),
    (archive([(A + ".npy", npy(descr="|O"))]), "elements of type '|O'"),
    (archive([(A + ".npy", npy(descr=[("x", "<f4")]))]), "elements of type"),
    (archive([(A + ".npy", npy(text="__import__('os').abort()"))]), "no dictionary"),
    (archive([(A + ".npy", npy(text="(" * 9000))]), "no dictionary"),
    (archive([(A + ".npy", npy(text="-" * 9000 + "1"))]), "no dictionary"),
    (archive([(A + ".npy", npy(text="{}"))]), "without descr"),
    (archive([(A + ".npy", npy(text=" " * 60000))]), "has a header of"),
    (archive([(A + ".npy", npy((2**25,), data=bytes(2**27)))], zipfile.ZIP_DEFLATED), "more than 256 times as many"),
    (archive([(A + ".npy", npy())], zipfile.ZIP_LZMA), "something else than deflate"),
    (whole[:-9], "the archive is damaged"),
    (whole.replace(b"\0" * 8 + b"PK", b"\0" * 7 + b"\1PK"), "the archive is damaged"),
    (archive([("../up.npy", npy())]), "names are unknown"),
):
    wrong("npz", data, words)

def file_of(make):
    path = folder + "made.tmp"
    with h5py.File(path, "w") as f:
        make(f, f.create_group("params"))
    with open(path, "rb") as f:
        return f.read()

ones = np.ones(1000, np.float32)
for make, words in (
    (lambda f, g: g.create_dataset(A, shape=(2**40,), dtype="f4"), "stores 0 bytes"),
    (lambda f, g: g.create_dataset(A, shape=(2**40,), dtype="f4", chunks=(2**10,)), "more than 256 times"),
    (lambda f, g: g.create_dataset(A, data=ones, compression="lzf"), "filters other than"),
    (lambda f, g: g.create_dataset(A, data=ones, scaleoffset=3), "filters other than"),
    (lambda f, g: g.__setitem__(A, h5py.SoftLink("/params")), "a link to somewhere else"),
    (lambda f, g: g.__setitem__(A, h5py.ExternalLink("other.h5", "/params")), "a link to somewhere else"),
    (lambda f, g: g.__setitem__("again", g), "groups within each other"),
    (lambda f, g: g.create_dataset(A, data="text"), "elements of type object"),
    (lambda f, g: g.create_dataset(A, data=h5py.Empty("f4")), A),
):
    wrong("h5", file_of(make), words)
np.savez(folder + "good.npz", **{A: np.ones(4, ">f4")})
np.savez(folder + "names.npz", **{"/params/x": ones})
open(folder + "some.safetensors", "wb").write(b"\2" + bytes(7) + b"{}")
print(f"{made} files that are wrong were refused by a sentence each")
sys.exit(bad)
PY
rm -f "$dir/made.tmp"
refuses_alone "is read by the programs themselves" "$dir/some.safetensors" "$dir/no.h5"

# ---- Files that the system does not give, and names that are no text ----
mkdir "$dir/folder.h5"
kinds="h5 npz"
[ -n "$("$python" -c 'import importlib.util as u; print(u.find_spec("torch") and 1 or "")')" ] && kinds="$kinds bin"
for kind in $kinds; do
    to=no.h5
    [ $kind = h5 ] && to=no.npz
    refuses "none.$kind: No such file or directory" "$dir/none.$kind" "$dir/$to"
done
refuses "folder.h5: it has no pytorch_model.bin" "$dir/folder.h5" "$dir/no.safetensors"
"$python" - "$dir/latin.h5" <<'PY'
import h5py, sys
with h5py.File(sys.argv[1], "w") as f:
    f["params/x"] = [1.0]
    f.id.links.move(b"params/x", f.id, b"params/caf\xe9")
PY
refuses "the name caf\\xe9 is no UTF-8" "$dir/latin.h5" "$dir/no.npz"

# A sentence about a name of 5000 characters is still read to its end.
"$python" - "$dir/long.h5" <<'END' || fail "no file with a long name"
import sys, h5py
with h5py.File(sys.argv[1], "w") as f:
    f["params/" + "n" * 5000] = h5py.SoftLink("/else/where")
END
refuses '...nnnnnn' "$dir/long.h5" "$dir/no.npz"
refuses 'is a link to somewhere else' "$dir/long.h5" "$dir/no.npz"

# A name that would lie outside of the group.
if "$python" examples/convert.py --keep-unknown "$dir/names.npz" "$dir/no.h5" 2>"$dir/err"; then fail "/params/x is a name"; fi
grep -q "none that a file can hold" "$dir/err" || fail "names.npz: $(cat "$dir/err")"

# ---- What is written ----
cp "$dir/good.npz" "$dir/input.npz"
"$python" examples/convert.py "$dir/input.npz" "$dir/w.h5" >"$dir/out" 2>&1 || fail "$(cat "$dir/out")"
ln "$dir/w.h5" "$dir/w.npz" && refuses "is the same file" "$dir/w.h5" "$dir/w.npz"
mkdir "$dir/folder.npz" && refuses "folder.npz" "$dir/w.h5" "$dir/folder.npz"
# Pipes and devices are not waited for, not read to an end that is not there, and not replaced.
for kind in npz safetensors; do
    mkfifo "$dir/pipe.$kind" && ln -s /dev/zero "$dir/zero.$kind"
    refuses "pipe.$kind: it is a pipe or a device" "$dir/pipe.$kind" "$dir/no.h5"
    refuses "zero.$kind: it is a pipe or a device" "$dir/zero.$kind" "$dir/no.h5"
    refuses "pipe.$kind: it is a pipe or a device" "$dir/w.h5" "$dir/pipe.$kind"
done
mkfifo "$dir/pipe.h5" && refuses "pipe.h5: it is a pipe or a device" "$dir/pipe.h5" "$dir/no.npz"
refuses_alone "no.x: its suffix is none of" "$dir/w.h5" "$dir/no.x"
refuses_told
[ -p "$dir/pipe.npz" ] || fail "a pipe was replaced"
"$python" examples/convert.py --check "$dir/w.h5" >&- 2>"$dir/err"
[ $? = 1 ] && [ "$(cat "$dir/err")" = "convert.py: standard output: it is closed" ] || fail "stdout that is closed: $(cat "$dir/err")"
if [ -w /dev/full ]; then
    rm -f "$dir/no.npz"
    "$python" examples/convert.py "$dir/w.h5" "$dir/no.npz" >/dev/full 2>"$dir/err"
    status=$?
    [ $status = 1 ] && [ "$(wc -l <"$dir/err")" = 1 ] || fail "stdout that is full: status $status, $(cat "$dir/err")"
    [ ! -e "$dir/no.npz" ] || fail "stdout that is full: a file was written"
fi
# A disk that is full: a file may have 512 bytes.
status=$(
    ulimit -f 1
    trap '' XFSZ
    "$python" examples/convert.py "$dir/good.npz" "$dir/no.h5" >/dev/null 2>&1
    echo $?
)
[ "$status" = 1 ] || fail "a disk that is full: status $status"
if ls "$dir" | grep -q -e tmp -e '^no'; then fail "a file stays: $(ls "$dir")"; fi

exit $failed
