"""memory.py - the memory of the pages (examples/inspect/memory.js) beside the library's.

    python3 tests/memory.py INSPECT FOLDER [SCRIPTS]

Makes so many scripts (50), runs each through every rule by `inspect` and by memory.js, under node or Chromium, and compares every
state within 1e-6 of the largest of its numbers, or of 1. PAL_MEMORY names another memory.js. Linear attention, which inspect has not, is GDN-2 that erases nothing
and does not decay.
"""

import base64
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
MEMORY = os.environ.get("PAL_MEMORY") or os.path.join(HERE, "..", "examples", "inspect", "memory.js")
# What inspect and memory.js both refuse.
REFUSED = ["", "write a", "writ a b", "read a b", "write a b erase=3", "write a b write=1.5", "decay", "decay 2", "key a 0 0\nread a",
           "key a 1 0\nkey b 1\nread a", "write a b dt=-1", "write a b lam=1,1", "key a 1 0\nwrite a b erase=1,1,1", "write a b x=1",
           "read a write=1", "write a b angle=1", "key a x\nread a", "key a 1e60\nread a", "write a b erase=", "key a",
           "key a 1 0\nwrite a b dt=0 angle=1", "key a 1\nkey a 2\nread a", "decay 0.5,0.5"]


def rules_of(program):
    """Every rule that inspect has: what it says of one that it has not."""
    said = subprocess.run([program, "--demo", "--rule", "nothing"], capture_output=True, text=True).stderr
    return re.search(r"there are ([a-z0-9,]+)", said).group(1).split(",")


def number(r, low, high):
    return r.choice(["0", "1", "0.5"]) if r.random() < 0.2 else f"{r.uniform(low, high):.4g}"


def script(seed):
    """(a script, the same for a rule that only adds)"""
    r = random.Random(seed)
    K, V = r.randint(1, 8), r.randint(1, 6)
    keys, values = [f"k{i}" for i in range(r.randint(1, 6))], [f"v{i}" for i in range(r.randint(1, 5))]
    head, named = [], r.random() < 0.3
    if not named:
        head += [f"key {k} " + " ".join(f"{r.gauss(0, 1):.4f}" for _ in range(K)) for k in keys]
        head += [f"value {v} " + " ".join(f"{r.gauss(0, 1):.4f}" for _ in range(V)) for v in values]
    lines, plain = list(head), list(head)

    def gate(n, high):
        return ",".join(number(r, 0, high) for _ in range(1 if named or r.random() < 0.5 else n))

    for _ in range(r.randint(1, 40)):
        verb = r.choice(["write", "write", "write", "erase", "decay", "read"])
        key, value, options = r.choice(keys), r.choice(values), ""
        if verb in ("write", "erase") and r.random() < 0.5:
            options += " erase=" + gate(K, 2)
        if verb == "write" and r.random() < 0.5:
            options += " write=" + gate(V, 1)
        if verb != "decay" and r.random() < 0.3:
            options += " decay=" + gate(K, 1)
        if r.random() < 0.3:
            options += f" dt={r.uniform(0.1, 3):.4g}"
        if r.random() < 0.3:
            options += " lam=" + number(r, 0, 1)
        if K > 1 and not named and r.random() < 0.4 and ("write=" not in options or "dt=" in options):
            options += f" angle={r.uniform(-3, 3):.4g}"
        decay = gate(K, 1).replace(",", " ")
        lines.append({"write": f"write {key} {value}", "erase": f"erase {key}", "decay": f"decay {decay}", "read": f"read {key}"}[verb] + options)
        # Keys stay in the order in which they come: names without a vector are unit vectors by it.
        plain.append({"write": f"write {key} {value} erase=0", "erase": f"read {key}", "decay": "decay 1", "read": f"read {key}"}[verb])
    return "\n".join(lines) + "\n", "\n".join(plain) + "\n"


def inspected(program, folder, text, rules):
    """{rule: states [T][K V]} of the library."""
    with open(folder + "/script", "w") as f:
        f.write(text)
    made = subprocess.run([program, "--script", folder + "/script", "--rule", ",".join(rules), "--out", folder + "/page", "--no-figures"],
                          capture_output=True, text=True)
    if made.returncode:
        return made.stderr
    with open(folder + "/page/index.html", encoding="utf-8") as f:
        data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', f.read(), re.S).group(1))
    states = {}
    for h in data["heads"]:
        raw = base64.b64decode(h["S"]["data"])
        states[h["rule"]] = struct.unpack(f"<{len(raw) // 4}f", raw)
    return states


RUN = """((jobs) => jobs.map(([text, rules]) => {
    try { const s = Memory.parse(text); return Object.fromEntries(rules.map((r) => [r, Array.from(Memory.run(s, r).S)])); }
    catch (e) { return String(e.message); } }))"""


def computed(jobs):
    """The same of memory.js, for all jobs at once."""
    with open(MEMORY, encoding="utf-8") as f:
        text = f.read()
    node = shutil.which("node") or shutil.which("nodejs")
    if node and os.environ.get("PAL_TEST_BROWSER") != "1":
        program = text + f"\nprocess.stdout.write(JSON.stringify({RUN}({json.dumps(jobs)})));"
        return json.loads(subprocess.run([node, "-"], input=program, capture_output=True, text=True, check=True).stdout)
    sys.path.insert(0, HERE + "/support")
    from browser import Browser
    with Browser() as browser:
        return browser.run(f"(() => {{ {text.replace(chr(39) + 'use strict' + chr(39) + ';', '')}; return {RUN}({json.dumps(jobs)}); }})()")


def main():
    program, folder, count = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 50
    rules = rules_of(program)
    jobs, wanted = [], []
    for seed in range(count):
        text, plain = script(seed)
        states = inspected(program, folder, text, rules)
        adds = inspected(program, folder, plain, ["gdn2"])
        if isinstance(states, str) or isinstance(adds, str):
            sys.exit(f"inspect refuses script {seed}: {states} {adds}\n{text}")
        wanted.append({**states, "linear": adds["gdn2"]})
        jobs.append([text, rules + ["linear"]])
    refused = REFUSED if count >= 50 else REFUSED[:4]
    got = computed(jobs + [[text, rules] for text in refused])
    worst = 0.0
    for seed in range(count):
        if isinstance(got[seed], str):
            sys.exit(f"memory.js refuses script {seed}: {got[seed]}\n{jobs[seed][0]}")
        for rule, states in wanted[seed].items():
            ours = got[seed][rule]
            apart = max(abs(a - b) for a, b in zip(states, ours)) / max(1, max(map(abs, states)))
            if len(ours) != len(states) or not apart <= 1e-6:
                sys.exit(f"script {seed}, {rule}: the states are {apart:g} apart\n{jobs[seed][0]}")
            worst = max(worst, apart)
    for text, said in zip(refused, got[count:]):
        if not isinstance(said, str):
            sys.exit(f"memory.js takes what inspect refuses: {text}")
        if not isinstance(inspected(program, folder, text, rules), str):
            sys.exit(f"inspect takes what memory.js refuses: {text}")
    print(f"{count} scripts, {len(rules) + 1} rules: states at most {worst:.1e} apart; both refuse {len(refused)} others")


if __name__ == "__main__":
    main()
