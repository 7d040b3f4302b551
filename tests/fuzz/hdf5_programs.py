"""hdf5_programs.py - our programs on files that may be damaged, by many processes at once.

A program is given 1.5 GB of address space and 30 s, and has to end with status 0, or with status 1 and a sentence on
stderr. Nothing but Python's own modules is used here.
"""
import argparse
import multiprocessing
import os
import resource
import shutil
import subprocess
import tempfile

# The program check gives HDF5 4 s of a processor, which others may share.
MEMORY, SECONDS = 1500 << 20, 30
# What only a crash, or a program that has not looked before it read, says.
NEVER = ("infinite loop closing library", "Aborting", "HDF5-DIAG", "AddressSanitizer", "runtime error", "stack smashing",
         "corrupted size", "corrupted top", "corrupted double", "free(): ", "malloc(): ", "terminate called")


class Programs:
    def __init__(self, folder, base):
        self.folder, self.base = os.path.abspath(folder), base
        # Memory that is freed is overwritten; there is no gnuplot on the path.
        self.environment = {"PATH": self.folder, "OMP_NUM_THREADS": "1", "MALLOC_PERTURB_": "85",
                            "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", ""), "HOME": base}

    def run(self, command, path, out):
        """None, or what is wrong with how the program ended."""
        shutil.rmtree(out, ignore_errors=True)
        os.mkdir(out)
        if "--resume" in command:
            shutil.copyfile(path, out + "/step-00000001.h5")
        try:
            program = os.path.join(self.folder, command[0])  # a path of its own stays as it is
            ended = subprocess.run([program] + command[1:], cwd=self.base, env=self.environment,
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

    def refuses_good(self, command, path, out):
        """1, with a message, if a program does not take a good file."""
        status, wrong = self.run(command, path, out)
        if status != 0 or wrong:
            print(f"FAIL: a good file: status {status}: {wrong or self.said}: {' '.join(command)}")
        return int(status != 0 or wrong is not None)

    def make(self, *commands):
        """Runs what makes the files to begin with."""
        for command in commands:
            made = subprocess.run([os.path.join(self.folder, command[0])] + command[1:], cwd=self.base,
                                  env=self.environment, stdin=subprocess.DEVNULL, capture_output=True)
            if made.returncode:
                raise SystemExit(f"{' '.join(command)}: status {made.returncode}: {made.stderr.decode('utf-8', 'replace')}")


def judge(o, programs, path, out, name, command):
    """Runs a program on a file: 0, 1, or 2 for a fault. The file is kept then, or if it is the only one."""
    status, wrong = programs.run(command, path, out)
    if wrong or o.only is not None:
        os.makedirs(o.keep, exist_ok=True)
        kept = f"{o.keep}/{name}.h5"
        shutil.copyfile(path, kept)
        words = " ".join(os.path.basename(c) if c.startswith(programs.base) else c for c in command)
        print(f"{'FAIL' if wrong else 'kept'}: {kept}: {wrong or f'status {status}'}: {words}", flush=True)
    return 2 if wrong else status


def worker(fuzz, k, first, work, now, counts):
    """Each file of number first + a multiple of step * jobs; `now` has the one that is made."""
    os.makedirs(work, exist_ok=True)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for i in range(first, fuzz.end, fuzz.step * fuzz.o.jobs):
        now[k] = i
        counts[3 * k + fuzz.one(i, work)] += 1


def run_all(fuzz, base):
    """Files from fuzz.begin to fuzz.end in steps of fuzz.step; returns how many ended with status 0, with a sentence, badly, and were not made."""
    jobs = fuzz.o.jobs
    now, counts = multiprocessing.Array("q", jobs, lock=False), multiprocessing.Array("q", 3 * jobs, lock=False)
    start = lambda k, first: multiprocessing.Process(target=worker, args=(fuzz, k, first, f"{base}/{k}", now, counts))
    running, restarts = {k: start(k, fuzz.begin + k * fuzz.step) for k in range(jobs)}, 0
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
                running[k] = start(k, now[k] + jobs * fuzz.step)
                running[k].start()
    return [sum(counts[w::3]) for w in range(3)] + [restarts]


def options(doc):
    """A parser with what such programs share."""
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--programs", required=True, help="folder of generate, train_lm, inspect, ablate, tokenize, check")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--keep", help="folder for files that fail (failed-hdf5 beside the programs' folder)")
    p.add_argument("--only", type=int, help="this file alone; it is kept")
    return p


def main(o, fuzzer, finish):
    """fuzzer(o, base folder) has begin, end, step, one() and check_good(); finish() says from the counts what to return."""
    o.keep = o.keep or os.path.join(os.path.dirname(os.path.abspath(o.programs)), "failed-hdf5")
    base = tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    try:
        fuzz = fuzzer(o, base)
        bad = fuzz.check_good()
        if o.only is not None:
            os.mkdir(base + "/0")
            return int(fuzz.one(o.only, base + "/0") == 2)
        return finish(fuzz, *run_all(fuzz, base)) or bad
    finally:
        shutil.rmtree(base)
