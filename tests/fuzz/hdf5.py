"""hdf5.py - mutated HDF5 files for our programs: checkpoints, stores of tokens, decoding states.

    hdf5.py --programs build/examples [--runs N] [--seed N] [--jobs N] [--keep FOLDER]
    hdf5.py --programs build/examples --only 17         one file again; it is kept

File i is a function of seed and i (and of the files that the programs and h5py make to begin with). hdf5_programs.py says
what a program has to do with it. A file with which it does not is kept, and its program named; the status is 1 then.
"""
import os
import random
import shutil
import sys

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # of NumPy: its threads take address space
import hdf5_bytes
import hdf5_programs
import hdf5_tree

CONVERT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../examples/convert.py"))
MODEL = ("--mixers gdn2:num_heads=1:head_dim=4,swa:window_size=4:num_heads=1:head_dim=8 --layers 2 --width 8 --no-mlp "
         "--len 16 --batch 2 --sample 0").split()


def uses(base, kind, path, out):
    """(share, command) of the ways to read a file of a kind."""
    lm, store = base + "/model.h5", base + "/store.h5"
    ways = {
        "checkpoint": [
            (5, ["generate", path, "ab", "--tokens", "1"]),
            (1, ["generate", path, "--last", "ab", "--tokens", "1"]),
            (2, ["inspect", path, "--tokens", "4"]),
            (1, ["ablate", "--layers", path, "--data", store, "--rows", "1", "--out", out]),
            (2, ["train_lm", "--init", path, "--data", store, "--steps", "1", "--out", out] + MODEL),
            (2, ["train_lm", "--resume", "--mend", "--out", out, "--steps", "2"]),
            (1, [sys.executable, "-B", CONVERT, "--check", "--keep-unknown", path]),
        ],
        "store": [
            (4, ["train_lm", "--data", path, "--steps", "1", "--out", out] + MODEL),
            (1, ["train_lm", "--data", path, "--steps", "1", "--packed", "--held-out", "0.2", "--out", out] + MODEL),
            (1, ["inspect", "--mixers", "gdn2:num_heads=1:head_dim=4", "--width", "8", "--layers", "1", "--data", path,
                 "--tokens", "4"]),
        ],
        "state": [(1, ["generate", lm, "--load-state", path, "--tokens", "1"])],
    }[kind]
    return ways


def make_base(programs):
    """Good files by our own programs; each kind's as bytes."""
    base = programs.base
    with open(base + "/text.txt", "w") as f:
        f.writelines(f"line {i} of a small text\n" for i in range(1, 200))
    programs.make(["tokenize", "--train-vocab", "280", "--out", "store.h5", "text.txt"],
                  ["train_lm", "--data", "store.h5", "--steps", "1", "--out", "run", "--average", "0.5"] + MODEL,
                  ["generate", "run/step-00000001.h5", "ab", "--tokens", "1", "--save-state", "state.h5"])
    shutil.copyfile(base + "/run/step-00000001.h5", base + "/model.h5")
    found = {}
    for kind, name in (("checkpoint", "model.h5"), ("store", "store.h5"), ("state", "state.h5")):
        with open(f"{base}/{name}", "rb") as f:
            found[kind] = f.read()
    return found


class Fuzz:
    def __init__(self, o, base):
        self.o, self.programs = o, hdf5_programs.Programs(o.programs, base)
        self.begin, self.end, self.step = 0, o.runs, 1
        self.good = make_base(self.programs)
        self.images = {}
        for kind, data in self.good.items():
            r = random.Random(f"{o.seed} {kind}")
            self.images[kind] = [hdf5_bytes.Image(v) for v in hdf5_tree.variants(r, data)]

    def make(self, i):
        """(kind, generator of the choices that are left, bytes) of file i."""
        r = random.Random(f"{self.o.seed} {i}")
        kind = r.choice(("checkpoint", "checkpoint", "checkpoint", "store", "store", "state"))
        image, way = r.choice(self.images[kind]), r.random()
        if way < 0.4:
            return kind, r, hdf5_bytes.mutate(r, image)
        data = hdf5_tree.mutate(r, image.data)
        return kind, r, data if way < 0.7 else hdf5_bytes.mutate(r, hdf5_bytes.Image(data))

    def one(self, i, work):
        """What became of file i: 0, 1, or 2 for a fault."""
        kind, r, data = self.make(i)
        path, out = f"{work}/{kind}.h5", work + "/out"
        with open(path, "wb") as f:
            f.write(data)
        ways = uses(self.programs.base, kind, path, out)
        command = r.choices([c for _, c in ways], [n for n, _ in ways])[0]
        return hdf5_programs.judge(self.o, self.programs, path, out, f"{kind}-{self.o.seed}-{i}", command)

    def check_good(self):
        """Every way to read the files works while they are good, or there would be nothing to find."""
        bad = 0
        for kind, data in self.good.items():
            path, out = f"{self.programs.base}/good.h5", self.programs.base + "/out"
            with open(path, "wb") as f:
                f.write(data)
            for _, command in uses(self.programs.base, kind, path, out):
                bad |= self.programs.refuses_good(command, path, out)
        return bad


def finish(fuzz, taken, refused, failed, restarts):
    count = taken + refused + failed
    print(f"{count} HDF5 files of seed {fuzz.o.seed}: status 0 {taken}, a sentence {refused}, failed {failed}; "
          f"{restarts} could not be made")
    if count >= 100 and (min(taken, refused) < count // 20 or restarts > count // 20):
        print("FAIL: too few were taken, refused or made to show anything")
        return 1
    return 1 if failed else 0


if __name__ == "__main__":
    parser = hdf5_programs.options(__doc__)
    parser.add_argument("--runs", type=int, default=500)
    sys.exit(hdf5_programs.main(parser.parse_args(), Fuzz, finish))
