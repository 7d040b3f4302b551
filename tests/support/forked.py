"""forked.py - runs Python scripts one after the other without a new start of Python and its packages for each.

    forked.py ASK TOLD

Both are named pipes. A line of ASK is a file for what a script prints, the script and its arguments, with tabs in
between; a line of TOLD is its status. Each script runs in a process that is forked for it, as Python would run it.
"""
import os
import sys
import traceback

import h5py  # and numpy, which is most of the time of a start

sys.dont_write_bytecode = True


def run(out, script, *arguments):
    to = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(to, 1)
    os.dup2(to, 2)
    sys.argv = [script, *arguments]
    sys.path[0] = os.path.dirname(script)
    status = 0
    try:
        with open(script) as f:
            exec(compile(f.read(), script, "exec"), {"__name__": "__main__", "__file__": script})
    except SystemExit as e:
        status = e.code if isinstance(e.code, int) else e.code is not None
        if isinstance(e.code, str):
            print(e.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


with open(sys.argv[1]) as ask, open(sys.argv[2], "w") as told:
    for line in ask:
        child = os.fork()
        if child == 0:
            run(*line.rstrip("\n").split("\t"))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=told, flush=True)
