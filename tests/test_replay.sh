#!/bin/sh
# test_replay.sh - replay compares all that it should: copies of reference files, each spoiled in one
# way, must fail (status 1) or not be run (status 2) and name what is wrong; unspoiled ones pass.
set -u
B=${B:-build}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
failed=0

python=
for p in python3 /usr/bin/python3; do
    if [ -z "$python" ] && "$p" -c 'import h5py' 2>/dev/null; then python=$p; fi
done
if [ -z "$python" ]; then
    echo "FAIL: no python3 with h5py; ./deps.sh installs them"
    exit 1
fi

"$python" - tests/data "$dir" >"$dir/list" <<'END' || exit 1
import h5py, json, os, shutil, sys

source, target = sys.argv[1:]
count = 0


def spoil(golden, status, words, change):
    """A changed copy; prints the status that replay should have, the copy, and what to say."""
    global count
    count += 1
    path = os.path.join(target, f"{count:02}-{golden}.h5")
    shutil.copyfile(os.path.join(source, golden + ".h5"), path)
    with h5py.File(path, "r+") as f:
        change(f)
    print(status, path, words, sep="|")


def datasets(golden, *groups):
    with h5py.File(os.path.join(source, golden + ".h5"), "r") as f:
        return [f"{group}/{name}" for group in groups for name in f[group]]


def nothing(f):
    pass


def remove(*names):
    def change(f):
        for name in names:
            del f[name]
    return change


def empty(f):
    for group in list(f):
        del f[group]


def options(edit):
    def change(f):
        json_now = json.loads(f.attrs["json"])
        edit(json_now)
        f.attrs["json"] = json.dumps(json_now)
    return change


def attribute(name, value):
    return lambda f: f.attrs.__setitem__(name, value)


def scaled(name, factor):
    return lambda f: f[name].__setitem__(..., f[name][...] * factor)


# ---- A rule, with an initial state; what is computed is stored in float64 ----
op = "op_gdn2_one"
spoil(op, 0, "0 failed", nothing)
for name in datasets(op, "out", "grad"):
    spoil(op, 1, f"FAIL  {name}: ", remove(name))
    spoil(op, 1, f"FAIL  {name} ", scaled(name, 1 + 1e-8))
spoil(op, 1, "FAIL  grad/query: ", lambda f: f.move("grad/q", "grad/query"))
spoil(op, 1, "FAIL  grad/q: ", lambda f: f.move("grad/q", "grad/query"))
spoil(op, 1, "FAIL  grad/q: ", lambda f: (f.__delitem__("grad/q"), f.create_group("grad/q")))
spoil(op, 1, "FAIL  grad/h0: ", remove("in/h0"))
spoil(op, 1, "FAIL  in/extra: ", lambda f: f.copy("in/q", "in/extra"))
spoil(op, 1, "FAIL  cot/extra: ", lambda f: f.copy("cot/o", "cot/extra"))
spoil(op, 1, "unknown attribute bogus", attribute("bogus", 1))
spoil(op, 1, "'scale' of '/' is not a number", attribute("scale", "0.25"))
spoil(op, 1, "FAIL  grad/q: ", remove("grad"))
spoil(op, 1, "FAIL", empty)
spoil(op, 2, 'there is no rule "bogus"', attribute("rule", "bogus"))
spoil(op, 2, "'kind'", lambda f: (empty(f), f.attrs.clear()))

# ---- A layer ----
layer = "layer_mamba2"
spoil(layer, 0, "0 failed", options(lambda o: o.update(mixer="mamba2")))
for name in ("out/y", "out/ht", "grad/x", "grad/params/D", "grad/params/conv1d.weight"):
    spoil(layer, 1, f"FAIL  {name}: ", remove(name))
spoil(layer, 1, "FAIL  grad/params/D ", scaled("grad/params/D", 1 + 1e-5))
spoil(layer, 1, "FAIL  grad/params/E: ", lambda f: f.move("grad/params/D", "grad/params/E"))
spoil(layer, 1, "1 missing: D", remove("params/D"))
spoil(layer, 1, "contradicts", options(lambda o: o.update(mixer="gdn")))
spoil(layer, 1, 'no key "bogus"', options(lambda o: o.update(bogus=1)))
spoil(layer, 1, "cannot be read", options(lambda o: o.update(bogus=None)))
spoil(layer, 1, "FAIL", empty)
spoil(layer, 2, 'there is no layer "bogus"', attribute("layer", "bogus"))
spoil(layer, 2, "no attribute json", lambda f: f.attrs.__delitem__("json"))

layer = "layer_attn_window"  # without a state
spoil(layer, 0, "0 failed", nothing)
spoil(layer, 1, "FAIL  grad/params/q_norm.weight: ", remove("grad/params/q_norm.weight"))
spoil(layer, 1, "FAIL  out/y ", options(lambda o: o.update(window_size=15)))

# ---- A model ----
model = "model_zoo"
spoil(model, 0, "0 failed", nothing)
gone = [
    "out/logits", "out/losses", "out/grad_norms", "out/lrs",
    "grad/params/model.norm.weight", "final/model.layers.3.attn.A_log",
]  # together: a run takes a second
spoil(model, 1, "|".join(f"FAIL  {name}: " for name in gone), remove(*gone))
spoil(model, 1, "unknown key bogus", options(lambda o: o.update(bogus=1)))
spoil(model, 1, "unknown key LR", options(lambda o: o.update(LR=o.pop("lr"))))
spoil(model, 1, "clip in json", options(lambda o: o.update(clip="1")))
spoil(model, 1, "betas in json", options(lambda o: o.update(betas=[0.9])))
spoil(model, 1, "contradicts", options(lambda o: o["mixers"][1].update(hidden_size=8)))
spoil(model, 1, "in/tokens", empty)
spoil(model, 2, 'no mixer "bogus"', options(lambda o: o["mixers"][1].update(mixer="bogus")))
END

# Threads would only wait for each other here.
OMP_NUM_THREADS=1
export OMP_NUM_THREADS
files=0
while IFS='|' read -r want file words; do
    files=$((files + 1))
    "$B/tests/replay" --dtype f64 "$file" >"$dir/log" 2>&1
    status=$?
    if [ $status != "$want" ]; then
        echo "FAIL: ${file##*/}: status $status, not $want, where it should say $words"
        tail -n 3 "$dir/log"
        failed=1
    fi
    while [ -n "$words" ]; do
        word=${words%%|*}
        words=${words#"$word"}
        words=${words#|}
        if ! grep -qF -- "$word" "$dir/log"; then
            echo "FAIL: ${file##*/}: no word of $word"
            failed=1
        fi
    done
done <"$dir/list"
[ $files -gt 50 ] || { echo "FAIL: only $files files"; failed=1; }

[ $failed = 0 ] && echo "$files reference files: the spoiled ones fail"
exit $failed
