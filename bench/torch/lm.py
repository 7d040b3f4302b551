"""lm.py - whole training steps of one model, by build/bench/step and by PyTorch (gdn2.py), in turn.

It needs python3 with torch, build/bench/step and gdn2.py beside this file; no compiler and no other package. The two
run one after the other, never at once, for as many rounds as asked. A figure is the median over the rounds.
"""

import argparse
import csv
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
# width: layers, heads, channels of a head, batch, length
SETS = {256: (6, 4, 64, 8, 256), 512: (6, 4, 128, 4, 512), 1024: (4, 8, 128, 4, 512)}
# Ours: name, flags, environment.
OURS = [("f32", [], {"PAL_PRODUCTS": "blis"}), ("f32 by oneDNN", [], {"PAL_PRODUCTS": "onednn"}),
        ("bf16", ["--precision", "bf16"], {})]


def arguments():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--threads", default="2", help="numbers of threads, such as 2,16")
    p.add_argument("--widths", default="256,512,1024")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--runs", type=int, default=5, help="steps of a round")
    p.add_argument("--step", default=os.path.join(HERE, "..", "..", "build", "bench", "step"), help="ours")
    p.add_argument("--before", help="bench/step of an earlier commit, which runs too, in f32")
    p.add_argument("--chunk", type=int, default=0, help="tokens of a chunk in PyTorch; 0: the fastest of 16, 32 and 64")
    return p.parse_args()


def processor():
    with open("/proc/cpuinfo") as text:
        names = [line.split(":", 1)[1].strip() for line in text if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} processors"


def ours(program, width, threads, runs, flags, extra, brief):
    """Tokens a second, parameters, and the lines with # of bench/step."""
    layers, heads, channels, batch, length = SETS[width]
    with tempfile.TemporaryDirectory() as folder:
        table = os.path.join(folder, "step.csv")
        command = [program, "--mixers", f"gdn2:num_heads={heads}:head_dim={channels}", "--width", str(width),
                   "--layers", str(layers), "--batch", str(batch), "--len", str(length), "--threads", str(threads),
                   "--runs", str(runs), "--csv", table] + flags + (["--brief"] if brief else [])
        done = subprocess.run(command, env={**os.environ, **extra}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True)
        if done.returncode:
            sys.exit(f"lm.py: {' '.join(command)}:\n{done.stdout}")
        with open(table) as text:
            lines = text.read().splitlines()
    notes = [line for line in lines if line.startswith("#")]
    row = next(csv.DictReader(line for line in lines if not line.startswith("#")))
    return float(row["tokens_per_second"]), int(row["parameters"]), notes


class Torch:
    def __init__(self, width, threads, chunk):
        import gdn2
        import torch

        torch.set_num_threads(threads)
        layers, heads, channels, batch, length = SETS[width]
        self.tokens = batch * length
        self.training = gdn2.Training(width, layers, heads, channels, batch, length)
        self.chunk = {}
        for bf16 in (False, True):
            sizes = [chunk] if chunk else [16, 32, 64]
            self.chunk[bf16] = max(sizes, key=lambda c: self.rate(bf16, 2, c))

    def rate(self, bf16, runs, chunk=None):
        times = []
        chunk = chunk or self.chunk[bf16]
        self.training.step(chunk, bf16)  # warms up
        for _ in range(runs):
            start = time.perf_counter()
            self.training.step(chunk, bf16)
            times.append(time.perf_counter() - start)
        return self.tokens / statistics.median(times)


def measure(a, width, threads):
    """A row of the table, and the notes of our first run."""
    peer = Torch(width, threads, a.chunk)
    programs = [(name, a.step, flags, extra, True) for name, flags, extra in OURS]
    if a.before:
        programs.append(("before", a.before, [], {}, False))
    rates, notes = {}, []
    for _ in range(a.rounds):
        for name, program, flags, extra, brief in programs:
            rate, size, said = ours(program, width, threads, a.runs, flags, extra, brief)
            if size != peer.training.size():
                sys.exit(f"lm.py: ours has {size} parameters, and PyTorch's {peer.training.size()}")
            rates.setdefault(name, []).append(rate)
            notes += [n for n in said if n.startswith(("# products", "# sgemm", "# bf16", "# code")) and n not in notes]
        for name, bf16 in (("torch f32", False), ("torch bf16", True)):
            rates.setdefault(name, []).append(peer.rate(bf16, a.runs))
    return {name: statistics.median(r) for name, r in rates.items()}, peer.chunk, notes


def main():
    a = arguments()
    import gdn2
    import torch

    torch.set_flush_denormal(True)
    error = gdn2.check()
    if not error < 1e-10:
        sys.exit(f"lm.py: PyTorch's rule differs from its definition by {error:.1e}")
    names = [name for name, _, _ in OURS] + (["before"] if a.before else [])
    print(f"python3 bench/torch/lm.py {' '.join(sys.argv[1:])}\n{processor()}, {time.strftime('%Y-%m-%d')}, "
          f"torch {torch.__version__}; tokens a second, medians of {a.rounds} rounds\n", flush=True)
    head = ["width", "threads"] + names + ["PyTorch f32", "PyTorch bf16", "f32 / PyTorch", "bf16 / PyTorch", "bf16 / f32"]
    for row in head, ["---"] * len(head):
        print("| " + " | ".join(row) + " |", flush=True)
    notes = []
    for threads in map(int, a.threads.split(",")):
        for width in map(int, a.widths.split(",")):
            r, chunk, said = measure(a, width, threads)
            best = max(r["f32"], r["f32 by oneDNN"])
            row = [f"{width}, {SETS[width][0]} layers, {SETS[width][3]} x {SETS[width][4]}", str(threads)]
            row += [f"{r[n]:.0f}" for n in names] + [f"{r['torch f32']:.0f}", f"{r['torch bf16']:.0f}"]
            row += [f"{best / r['torch f32']:.2f}", f"{r['bf16'] / r['torch bf16']:.2f}", f"{r['bf16'] / best:.2f}"]
            print("| " + " | ".join(row) + " |", flush=True)
            notes += [n for n in said if n not in notes]
            notes.append(f"# {row[0]}, {threads} threads: PyTorch's chunk {chunk[False]} in f32, {chunk[True]} in bf16")
    print("\n" + "\n".join(notes))


main()
