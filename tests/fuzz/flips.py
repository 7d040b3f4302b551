"""flips.py - every byte of a checkpoint changed, one at a time.

    flips.py --programs build/examples [--from BYTE] [--to BYTE] [--way generate|init|resume|turn] [--jobs N] [--seed N]
    flips.py --programs build/examples --only 17        one byte again; the file is kept

Byte i gets another value, which seed and i decide. A program reads the file: `generate`, `train_lm --init`, `train_lm
--resume`, or one after the other in turn: byte i gets number i + seed, so that seeds 1, 2 and 3 try all. hdf5_programs.py
says what it has to do. The groups have more than 8 names each, which HDF5 keeps in another way than fewer. The programs and
Python suffice, without h5py or a compiler.
"""
import random
import sys

import hdf5_programs

MODEL = ("--mixers gdn2:num_heads=1:head_dim=4 --layers 1 --width 4 --tie --no-mlp --len 16 --batch 2 --sample 0 "
         "--average 0.5").split()
WAYS = ("generate", "init", "resume")


class Flips:
    def __init__(self, o, base):
        self.o, self.programs = o, hdf5_programs.Programs(o.programs, base)
        with open(base + "/text.txt", "w") as f:
            f.writelines(f"line {i} of a small text\n" for i in range(1, 200))
        self.programs.make(["train_lm", "--data", "text.txt", "--steps", "1", "--out", "first"] + MODEL,
                           ["train_lm", "--data", "first/data.h5", "--steps", "1", "--out", "run"] + MODEL)
        with open(base + "/run/step-00000001.h5", "rb") as f:
            self.good = f.read()
        self.begin, self.end = (min(len(self.good) if at is None else at, len(self.good)) for at in (o.begin, o.end))
        self.step = max(1, (self.end - self.begin) // o.runs) if o.runs else 1

    def use(self, way, path, out):
        store = self.programs.base + "/first/data.h5"
        return {"generate": ["generate", path, "ab", "--tokens", "1"],
                "init": ["train_lm", "--init", path, "--data", store, "--steps", "1", "--out", out] + MODEL,
                "resume": ["train_lm", "--resume", "--mend", "--out", out, "--steps", "2"]}[way]

    def one(self, i, work):
        """What became of byte i: 0, 1, or 2 for a fault."""
        path, out, data = work + "/checkpoint.h5", work + "/out", bytearray(self.good)
        data[i] ^= random.Random(f"{self.o.seed} {i}").randrange(1, 256)
        with open(path, "wb") as f:
            f.write(data)
        way = WAYS[(i + self.o.seed) % len(WAYS)] if self.o.way == "turn" else self.o.way
        return hdf5_programs.judge(self.o, self.programs, path, out, f"flip-{way}-{self.o.seed}-{i}",
                                   self.use(way, path, out))

    def check_good(self):
        path, out, bad = self.programs.base + "/good.h5", self.programs.base + "/out", 0
        with open(path, "wb") as f:
            f.write(self.good)
        for way in WAYS:
            bad |= self.programs.refuses_good(self.use(way, path, out), path, out)
        return bad


def finish(flips, taken, refused, failed, restarts):
    print(f"bytes {flips.begin} to {flips.end} of {len(flips.good)}, {flips.o.way}, seed {flips.o.seed}: status 0 {taken}, "
          f"a sentence {refused}, failed {failed}; {restarts} could not be made")
    tried = len(range(flips.begin, flips.end, flips.step))
    return 1 if failed or restarts or taken + refused != tried else 0


if __name__ == "__main__":
    parser = hdf5_programs.options(__doc__)
    parser.add_argument("--from", dest="begin", type=int, default=0, help="the first byte (0)")
    parser.add_argument("--to", dest="end", type=int, help="the byte behind the last one (the end of the file)")
    parser.add_argument("--runs", type=int, default=0, help="about so many of them, evenly spread (0: all)")
    parser.add_argument("--way", choices=WAYS + ("turn",), default="turn")
    sys.exit(hdf5_programs.main(parser.parse_args(), Flips, finish))
