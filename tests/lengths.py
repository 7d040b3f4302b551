"""lengths.py - checks that no source is longer than 500 lines and no function longer than 60.

clang-format puts the braces of a function's body at the beginning of a line, and no other opening brace there.
A function's length counts the lines from its name to its last brace.
"""

import os
import shutil
import subprocess
import sys

MOST_LINES = 500
MOST_OF_FUNCTION = 60


def sources():
    git = shutil.which("git")
    tracked = git and subprocess.run([git, "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True)
    if tracked and tracked.returncode == 0:
        files = tracked.stdout.split("\n")
    else:  # an archive, or a machine without git
        files = [os.path.join(d, n)[2:] for d, _, ns in os.walk(".") for n in ns]
        files = [f for f in files if not f.startswith("build")]
    return sorted(f for f in files if f.endswith((".c", ".h", ".py", ".sh")) and os.path.isfile(f))


def functions(lines):
    """(number of the first line, length, first line) of each function of a C file."""
    first, inside = 0, False
    for i, line in enumerate(lines):
        if line == "{":
            inside = True
        elif line == "}" and inside:
            yield first + 1, i - first + 1, lines[first]
            inside = False
        elif not inside and line and not line[0].isspace():
            first = i  # of several lines of a signature, the others are indented


def main():
    wrong, files, bodies = [], 0, 0
    for path in sources():
        with open(path, encoding="utf-8") as text:
            lines = text.read().splitlines()
        files += 1
        if len(lines) > MOST_LINES:
            wrong.append(f"{path}: {len(lines)} lines, more than {MOST_LINES}")
        if not path.endswith((".c", ".h")):
            continue
        for number, length, name in functions(lines):
            bodies += 1
            if length > MOST_OF_FUNCTION:
                wrong.append(f"{path}:{number}: {length} lines, more than {MOST_OF_FUNCTION}: {name}")
    print("\n".join(wrong + [f"{files} files, {bodies} functions, {len(wrong)} too long"]))
    return 1 if wrong or not bodies else 0


sys.exit(main())
