"""floors.py BUILD - checks that no include and no call runs from a lower floor to a higher one.

What a file calls is read from the objects in BUILD/obj: a symbol that it leaves undefined is a call of
the file that defines it. Files on one floor may use each other, but not in a circle; the circles that
are allowed are listed below, each with its reason.
"""

import collections
import os
import re
import shutil
import subprocess
import sys

# A folder stands on the floor of the longest name that it begins with. Floors of one number do not
# know each other.
FLOORS = {
    "tensor": 0,
    "autograd": 1,
    "layers": 2,
    "layers/rules": 3,
    "layers/attention": 3,
    "layers/modules": 3,
    "layers/kernel": 4,
    "layers/mixers": 4,
    "layers/models": 5,
    "optim": 2,
    "examples/flags": 6,
    "examples/lm": 7,
    "examples/tasks": 8,
    "bench/measure": 8,
    "bench": 9,
    "examples": 9,
}
PUBLIC = {"palimpsest.h": 6}  # it includes every public header

# Circles of files that are allowed.
CIRCLES = [
    # The header of the floor ends with its parts, and each part may be included by itself.
    {"autograd/autograd.h", "autograd/ops.h", "autograd/params.h"},
    # A segment is run again in the middle of backward, and has a backward of its own.
    {"autograd/backward.c", "autograd/recompute.c"},
    # One HDF5 file is several files of code: handle, reading, writing, checksums, ranks.
    {"tensor/files/hdf5*.c"},
]


def unit(path):
    """Files are nodes by themselves, but kernels are the folder that they fill."""
    if ".k." in path:
        return os.path.dirname(path)
    return path


def room(name):
    return max((r for r in FLOORS if name == r or name.startswith(r + "/")), key=len, default=None)


def floor(name):
    if name in PUBLIC:
        return PUBLIC[name]
    r = room(name)
    return None if r is None else FLOORS[r]


def includes(files):
    """(file, file that it includes), of project headers."""
    for path in files:
        with open(path, encoding="utf-8") as text:
            for line in text:
                match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
                if match and os.path.exists(match.group(1)):
                    yield path, match.group(1)


def source_of(path):
    """The source of an object; a kernel has one for each type and instruction set."""
    return re.sub(r"\.o$", ".c", re.sub(r"\.f\d+\.\w+\.o$", ".k.c", path))


def calls(build, sources):
    """(file, file whose function or variable it uses), by the symbols of objects."""
    top = os.path.join(build, "obj")
    objects = []
    for folder, _, names in os.walk(top):
        for name in names:
            source = source_of(os.path.relpath(os.path.join(folder, name), top))
            if name.endswith(".o") and source in sources:  # others were left by an older tree
                objects.append(os.path.join(folder, name))
    defined, wanted = collections.defaultdict(set), []
    out = subprocess.run(["nm", "-A", "-g"] + sorted(objects), capture_output=True, text=True, check=True).stdout
    for line in out.splitlines():
        path, rest = line.split(":", 1)
        source = source_of(os.path.relpath(path, top))
        words = rest.split()
        kind, symbol = words[-2], words[-1]
        if not symbol.startswith("pal_"):
            continue  # programs have a main each; what they call of others begins with pal_, too
        if kind in "Uw":
            wanted.append((source, symbol))
        else:
            defined[symbol].add(source)
    for source, symbol in wanted:
        # A name that several programs define is not a call of one of them.
        if len({unit(d) for d in defined[symbol]}) == 1:
            yield source, min(defined[symbol])


def circles(graph):
    """The strongly connected parts of more than one file (Tarjan's algorithm)."""
    index, low, stack, on, found = {}, {}, [], set(), []

    def visit(v):
        index[v] = low[v] = len(index)
        stack.append(v)
        on.add(v)
        for w in sorted(graph.get(v, ())):
            if w not in index:
                visit(w)
                low[v] = min(low[v], low[w])
            elif w in on:
                low[v] = min(low[v], index[w])
        if low[v] == index[v]:
            part = set()
            while v not in part:
                w = stack.pop()
                on.discard(w)
                part.add(w)
            if len(part) > 1:
                found.append(part)

    sys.setrecursionlimit(10000)
    for v in sorted(graph):
        if v not in index:
            visit(v)
    return found


def allowed(part):
    for names in CIRCLES:
        if all(any(re.fullmatch(n.replace("*", ".*"), f) for n in names) for f in part):
            return True
    return False


def main():
    build = sys.argv[1] if len(sys.argv) > 1 else "build"
    tracked = shutil.which("git") and subprocess.run(["git", "ls-files"], capture_output=True, text=True)
    if tracked and tracked.returncode == 0:
        files = tracked.stdout.split()
    else:  # an archive, or a machine without git
        files = [os.path.join(d, n)[2:] for d, _, ns in os.walk(".") for n in ns]
    files = [f for f in files if f.endswith((".c", ".h")) and floor(f) is not None and os.path.exists(f)]
    graph = collections.defaultdict(set)
    bad = set()
    count = 0
    edges = [(a, b, "includes") for a, b in includes(files)] + [(a, b, "calls") for a, b in calls(build, set(files))]
    for a, b, how in edges:
        x, y = floor(a), floor(b)
        if x is None or y is None or unit(a) == unit(b) or a in PUBLIC or b in PUBLIC:
            continue
        count += 1
        graph[unit(a)].add(unit(b))
        if {room(a).split("/")[0], room(b).split("/")[0]} == {"layers", "optim"}:
            bad.add(f"{a} {how} {b}: layers and optim do not know each other")
        elif y > x and b not in PUBLIC:
            bad.add(f"{a} {how} {b}, which stands on a higher floor")
        elif x == y and room(a) != room(b) and x not in (3, 9):
            bad.add(f"{a} {how} {b}, and the two rooms should not know each other")
    for part in circles(graph):
        if not allowed(part):
            ties = sorted(f"{v} -> {w}" for v in part for w in graph[v] & part)
            bad.add("these files use each other in a circle: " + ", ".join(ties))
    for line in sorted(bad):
        print(line)
    print(f"{len(files)} files, {count} ties, {len(bad)} wrong")
    return 1 if bad or count == 0 else 0


sys.exit(main())
