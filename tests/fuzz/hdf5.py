"""hdf5.py - mutated HDF5 files for our programs: checkpoints, stores of tokens, decoding states.

    hdf5.py --programs build/examples [--runs N] [--seed N] [--jobs N] [--keep FOLDER]
    hdf5.py --programs build/examples --flips           every byte of a checkpoint changed, one at a time
    hdf5.py --programs build/examples --only 17         one file again; it is kept

File i is a function of seed and i (and of the files that the programs and h5py make to begin with). A program is given
1.5 GB of address space and 30 s, and has to end with status 0, or with status 1 and a sentence on stderr. A file with
which it does not is kept, and its program named; the status is 1 then.
"""
import argparse
import multiprocessing
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # of NumPy: its threads take address space
import hdf5_bytes
import hdf5_tree

CONVERT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../examples/convert.py"))
# The program check gives HDF5 4 s of a processor, which others may share.
MEMORY, SECONDS = 1500 << 20, 30
MODEL = ("--mixers gdn2:num_heads=1:head_dim=4,swa:window_size=4:num_heads=1:head_dim=8 --layers 2 --width 8 --no-mlp "
         "--len 16 --batch 2 --sample 0").split()
# What only a crash, or a program that has not looked before it read, says.
NEVER = ("infinite loop closing library", "Aborting", "HDF5-DIAG", "AddressSanitizer", "runtime error", "stack smashing",
         "corrupted size", "corrupted top", "corrupted double", "free(): ", "malloc(): ", "terminate called")


class Programs:
    def __init__(self, folder, base):
        self.folder, self.base = os.path.abspath(folder), base
        # GOMP_SPINCOUNT is what pal_share_processors would start the program again for; memory that
        # is freed is overwritten; there is no gnuplot on the path.
        self.environment = {"PATH": self.folder, "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0", "MALLOC_PERTURB_": "85",
                            "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", ""), "HOME": base}

    def uses(self, kind, path, out):
        """(share, command) of the ways to read a file of a kind."""
        lm, store = self.base + "/model.h5", self.base + "/store.h5"
        ways = {
            "checkpoint": [
                (5, ["generate", path, "ab", "--tokens", "1"]),
                (1, ["generate", path, "--last", "ab", "--tokens", "1"]),
                (2, ["inspect", path, "--tokens", "4"]),
                (1, ["ablate", "--layers", path, "--data", store, "--rows", "1", "--out", out]),
                (2, ["train_lm", "--init", path, "--data", store, "--steps", "1", "--out", out] + MODEL),
                (2, ["train_lm", "--resume", "--mend", "--out", out, "--steps", "2"]),
                (1, [CONVERT, "--check", "--keep-unknown", path]),
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

    def run(self, command, path, out):
        """None, or what is wrong with how the program ended."""
        shutil.rmtree(out, ignore_errors=True)
        os.mkdir(out)
        if "--resume" in command:
            shutil.copyfile(path, out + "/step-00000001.h5")
        try:
            program = [sys.executable, "-B", CONVERT] if command[0] == CONVERT else [os.path.join(self.folder, command[0])]
            ended = subprocess.run(program + command[1:], cwd=self.base, env=self.environment,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                   timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return None, f"it took more than {SECONDS} s"
        said = ended.stderr.decode("utf-8", "replace").strip()
        last = self.said = said.splitlines()[-1] if said else ""
        if ended.returncode not in (0, 1):
            return ended.returncode, f"status {ended.returncode}: {last[:200]}"
        for word in NEVER:
            if word in said:
                line = next(x for x in said.splitlines() if word in x)
                return ended.returncode, f"status {ended.returncode}, and it said: {line[:200]}"
        if ended.returncode == 1 and len(last.split()) < 4:
            return 1, f"status 1 and no sentence, but {last[:200]!r}"
        return ended.returncode, None


def make_base(programs):
    """Good files by our own programs; each kind's as bytes."""
    base = programs.base
    with open(base + "/text.txt", "w") as f:
        f.writelines(f"line {i} of a small text\n" for i in range(1, 200))
    for command in (["tokenize", "--train-vocab", "280", "--out", "store.h5", "text.txt"],
                    ["train_lm", "--data", "store.h5", "--steps", "1", "--out", "run", "--average", "0.5"] + MODEL,
                    ["generate", "run/step-00000001.h5", "ab", "--tokens", "1", "--save-state", "state.h5"]):
        subprocess.run([os.path.join(programs.folder, command[0])] + command[1:], cwd=base, env=programs.environment,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    shutil.copyfile(base + "/run/step-00000001.h5", base + "/model.h5")
    found = {}
    for kind, name in (("checkpoint", "model.h5"), ("store", "store.h5"), ("state", "state.h5")):
        with open(f"{base}/{name}", "rb") as f:
            found[kind] = f.read()
    return found


class Fuzz:
    def __init__(self, o, base):
        self.o, self.programs = o, Programs(o.programs, base)
        self.good = make_base(self.programs)
        self.images = {}
        for kind, data in self.good.items():
            r = random.Random(f"{o.seed} {kind}")
            self.images[kind] = [hdf5_bytes.Image(v) for v in hdf5_tree.variants(r, data)]

    def make(self, i):
        """(kind, generator of the choices that are left, bytes) of file i."""
        r = random.Random(f"{self.o.seed} {i}")
        if self.o.flips:
            data = bytearray(self.good["checkpoint"])
            data[i] ^= r.randrange(1, 256)
            return "checkpoint", r, bytes(data)
        kind = r.choice(("checkpoint", "checkpoint", "checkpoint", "store", "store", "state"))
        image, way = r.choice(self.images[kind]), r.random()
        if way < 0.4:
            return kind, r, hdf5_bytes.mutate(r, image)
        data = hdf5_tree.mutate(r, image.data)
        return kind, r, data if way < 0.7 else hdf5_bytes.mutate(r, hdf5_bytes.Image(data))

    def one(self, i, work):
        """Counts what became of file i; returns 0, 1 or 2 (a fault)."""
        kind, r, data = self.make(i)
        path, out = f"{work}/{kind}.h5", work + "/out"
        with open(path, "wb") as f:
            f.write(data)
        ways = self.programs.uses(kind, path, out)
        command = ways[0][1] if self.o.flips else r.choices([c for _, c in ways], [n for n, _ in ways])[0]
        status, wrong = self.programs.run(command, path, out)
        if wrong or self.o.only is not None:
            os.makedirs(self.o.keep, exist_ok=True)
            kept = f"{self.o.keep}/{'flip' if self.o.flips else kind}-{self.o.seed}-{i}.h5"
            shutil.copyfile(path, kept)
            words = " ".join(os.path.basename(c) if c.startswith(self.programs.base) else c for c in command)
            print(f"{'FAIL' if wrong else 'kept'}: {kept}: {wrong or f'status {status}'}: {words}", flush=True)
        return 2 if wrong else status


def worker(fuzz, k, first, work, now, counts):
    """Files first, first + jobs, ...; `now` has the one that is made."""
    os.makedirs(work, exist_ok=True)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for i in range(first, fuzz.o.runs, fuzz.o.jobs):
        now[k] = i
        counts[3 * k + fuzz.one(i, work)] += 1


def check_good(fuzz):
    """Every way to read the files works while they are good, or there would be nothing to find."""
    bad = 0
    for kind, data in fuzz.good.items():
        path, out = f"{fuzz.programs.base}/good.h5", fuzz.programs.base + "/out"
        with open(path, "wb") as f:
            f.write(data)
        for _, command in fuzz.programs.uses(kind, path, out):
            status, wrong = fuzz.programs.run(command, path, out)
            if status != 0 or wrong:
                print(f"FAIL: a good {kind}: status {status}: {wrong or fuzz.programs.said}: {' '.join(command)}")
                bad = 1
    return bad


def run_all(fuzz, base):
    jobs, o = fuzz.o.jobs, fuzz.o
    now, counts = multiprocessing.Array("q", jobs, lock=False), multiprocessing.Array("q", 3 * jobs, lock=False)
    start = lambda k, first: multiprocessing.Process(target=worker, args=(fuzz, k, first, f"{base}/{k}", now, counts))
    running, restarts = {k: start(k, k) for k in range(jobs)}, 0
    for p in running.values():
        p.start()
    while running:
        for k, p in list(running.items()):
            p.join(0.2)
            if p.exitcode is None:
                continue
            del running[k]
            if p.exitcode != 0:  # HDF5 of h5py crashed, or there was an error of this program
                restarts += 1
                print(f"note: file {now[k]} was not made: status {p.exitcode}", flush=True)
                running[k] = start(k, now[k] + jobs)
                running[k].start()
    ended = [sum(counts[w::3]) for w in range(3)]
    print(f"{sum(ended)} HDF5 files of seed {o.seed}: status 0 {ended[0]}, a sentence {ended[1]}, failed {ended[2]}; "
          f"{restarts} could not be made")
    if not o.flips and sum(ended) >= 100 and (min(ended[:2]) < sum(ended) // 20 or restarts > sum(ended) // 20):
        print("FAIL: too few were taken, refused or made to show anything")
        return 1
    return 1 if ended[2] else 0


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--programs", required=True, help="folder of generate, train_lm, inspect, ablate, tokenize")
    p.add_argument("--runs", type=int, default=500)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--keep", help="folder for files that fail (failed-hdf5 beside the programs' folder)")
    p.add_argument("--flips", action="store_true", help="single bytes of our checkpoint; --runs of them, 0: all")
    p.add_argument("--only", type=int, help="this file alone")
    o = p.parse_args()
    o.keep = o.keep or os.path.join(os.path.dirname(os.path.abspath(o.programs)), "failed-hdf5")
    base = tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    try:
        fuzz = Fuzz(o, base)
        bad = check_good(fuzz)
        if o.flips:
            o.runs = min(o.runs or len(fuzz.good["checkpoint"]), len(fuzz.good["checkpoint"]))
        if o.only is not None:
            os.mkdir(base + "/0")
            return int(fuzz.one(o.only, base + "/0") == 2)
        return run_all(fuzz, base) or bad
    finally:
        shutil.rmtree(base)


if __name__ == "__main__":
    sys.exit(main())
