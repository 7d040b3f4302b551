#!/bin/sh
# test_convert_mamba3.sh - checkpoints of Mamba-3 in the two published forms come in by convert.py,
# load strictly under the flags that their config.json gives, and go out again bit for bit.
set -u
B=${B:-build}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
failed=0

python=
for p in python3 /usr/bin/python3; do
    if [ -z "$python" ] && "$p" -c 'import h5py, numpy' 2>/dev/null; then python=$p; fi
done
if [ -z "$python" ]; then
    echo "note: skipped: no python3 with h5py and numpy; ./deps.sh installs them"
    exit 0
fi
OMP_NUM_THREADS=1
export OMP_NUM_THREADS

fail() {
    echo "FAIL: $*"
    failed=1
}
convert() { "$python" examples/convert.py "$@" >"$dir/said" 2>&1 || fail "convert.py $*: $(cat "$dir/said")"; }
refuses() { # words flags...
    words=$1
    shift
    if "$python" examples/convert.py "$@" >"$dir/said" 2>&1; then fail "convert.py $* was accepted"; fi
    grep -qF -e "$words" "$dir/said" || fail "convert.py $*: no word of $words: $(cat "$dir/said")"
    if grep -q Traceback "$dir/said"; then fail "convert.py $*: $(cat "$dir/said")"; fi
}

# Names and shapes as the modules of mamba_ssm (modules/mamba3.py, mlp.py, block.py) and of
# flash-linear-attention (layers/mamba3.py, models/mamba3) make them, with random numbers.
cat >"$dir/make.py" <<'PY'
import json, sys
import numpy as np

folder = sys.argv[1] + "/"
rng = np.random.default_rng(1)

def mixer(d, state, head, groups, rank, fraction, expand=2, norm=False, bias=False, mimo=False):
    di, rank = expand * d, rank if mimo else 1
    heads, angles = di // head, int(state * fraction) // 2
    rows = 2 * di + 2 * state * groups * rank + 3 * heads + angles
    shapes = {"dt_bias": (heads,), "B_bias": (heads, rank, state), "C_bias": (heads, rank, state), "D": (heads,),
              "in_proj.weight": (rows, d), "B_norm.weight": (state,), "C_norm.weight": (state,),
              "out_proj.weight": (d, di)}
    if mimo:
        shapes.update({name: (heads, rank, head) for name in ("mimo_x", "mimo_z", "mimo_o")})
    if norm:
        shapes["norm.weight"] = (di,)
    if bias:
        shapes.update({"in_proj.bias": (rows,), "out_proj.bias": (d,)})
    return shapes

def save(name, config, shapes, tied=None):
    tensors = {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    if tied:
        tensors["lm_head.weight"] = tensors[tied]
    np.savez(folder + name + ".npz", **tensors)
    with open(folder + name + ".json", "w") as f:
        json.dump(config, f)

# mamba_ssm: MIMO with MLPs and a tied head; the vocabulary becomes a multiple of 8, d_intermediate of 128.
d, hidden = 16, 128
shapes = {"backbone.embedding.weight": (256, d), "backbone.norm_f.weight": (d,)}
for i in range(2):
    at = f"backbone.layers.{i}."
    shapes.update({at + "mixer." + n: s for n, s in mixer(d, 6, 8, 2, 4, 1.0, mimo=True, norm=True).items()})
    shapes.update({at + "norm.weight": (d,), at + "norm2.weight": (d,), at + "mlp.fc1.weight": (2 * hidden, d),
                   at + "mlp.fc2.weight": (d, hidden)})
save("ssm", {"d_model": d, "d_intermediate": 100, "n_layer": 2, "vocab_size": 250,
             "ssm_cfg": {"layer": "Mamba3", "d_state": 6, "headdim": 8, "ngroups": 2, "expand": 2, "rope_fraction": 1.0,
                         "is_mimo": True, "mimo_rank": 4, "is_outproj_norm": True, "A_floor": 1e-3, "chunk_size": 16},
             "attn_layer_idx": [], "attn_cfg": {}, "rms_norm": True, "residual_in_fp32": True, "fused_add_norm": True,
             "pad_vocab_size_multiple": 8, "tie_embeddings": True}, shapes, "backbone.embedding.weight")

# flash-linear-attention: no MLPs, biases, a head of its own.
d = 24
shapes = {"backbone.embeddings.weight": (256, d), "backbone.norm_f.weight": (d,), "lm_head.weight": (256, d)}
for i in range(3):
    at = f"backbone.layers.{i}."
    shapes.update({at + "mixer." + n: s for n, s in mixer(d, 10, 12, 1, 4, 0.5, bias=True).items()})
    shapes[at + "norm.weight"] = (d,)
save("fla", {"model_type": "mamba3", "architectures": ["Mamba3ForCausalLM"], "hidden_size": d, "state_size": 10,
             "head_dim": 12, "n_groups": 1, "num_hidden_layers": 3, "vocab_size": 256, "expand": 2, "use_bias": True,
             "rope_fraction": 0.5, "A_floor": 1e-4, "is_mimo": False, "mimo_rank": 4, "is_outproj_norm": False,
             "norm_eps": 2e-5, "hidden_act": "silu", "tie_word_embeddings": False, "chunk_size": 64}, shapes)
PY
"$python" "$dir/make.py" "$dir" || fail "make.py"
cat >"$dir/same.py" <<'PY'
import sys, numpy as np
a, b = (dict(np.load(path)) for path in sys.argv[1:])
assert sorted(a) == sorted(b), sorted(set(a) ^ set(b))
for n in a:
    assert a[n].dtype == b[n].dtype and a[n].shape == b[n].shape and a[n].tobytes() == b[n].tobytes(), n
PY

head -c 3000 README.md >"$dir/text"
train() { # OUT flags...
    out=$1
    shift
    rm -rf "${dir:?}/$out"
    "$B/examples/train_lm" --data "$dir/text" --out "$dir/$out" --sample 0 --steps 1 --batch 1 --len 8 "$@" >"$dir/$out.txt" 2>&1
}

# ---- In, loaded strictly, and out ----
for form in ssm:mamba_ssm:--with-head fla:mamba2:; do
    IFS=: read -r name style head <<END
$form
END
    convert "$dir/$name.npz" "$dir/$name.h5"
    "$python" examples/convert.py --flags "$dir/$name.json" >"$dir/$name.flags" 2>"$dir/note" || fail "$name: no flags: $(cat "$dir/note")"
    grep -q 'A_act=softplus is taken.*A_act=heavy_tail; no file says which' "$dir/note" || fail "no word of A_act: $(cat "$dir/note")"
    # shellcheck disable=SC2046 # flags are to be split
    train "$name" $(cat "$dir/$name.flags") --init "$dir/$name.h5" || fail "$name does not load: $(cat "$dir/$name.txt")"
    # shellcheck disable=SC2086 # there may be no flag
    convert --style "$style" $head "$dir/$name.h5" "$dir/$name.back.npz"
    "$python" "$dir/same.py" "$dir/$name.npz" "$dir/$name.back.npz" >"$dir/said" 2>&1 || fail "$name: $(tail -n 1 "$dir/said")"
    # What was trained goes out under the same names.
    # shellcheck disable=SC2086
    convert --style "$style" $head --check "$dir/$name/step-00000001.h5"
    "$python" -c 'import sys, numpy; print("\n".join(sorted(numpy.load(sys.argv[1]).files)))' "$dir/$name.npz" >"$dir/names"
    grep -o '^[a-z][^ ]*\.[^ ]*' "$dir/said" | LC_ALL=C sort | cmp -s - "$dir/names" || fail "$name: other names: $(cat "$dir/said")"
done
[ "$(cat "$dir/ssm.flags")" = "--layers 2 --width 16 --vocab 256 --mlp-width 128 --tie --mixers \
mamba3:state_size=6:head_dim=8:n_groups=2:expand=2:rope_fraction=1.0:A_floor=0.001:is_mimo=true:mimo_rank=4:is_outproj_norm=true" ] ||
    fail "flags: $(cat "$dir/ssm.flags")"
[ "$(cat "$dir/fla.flags")" = "--layers 3 --width 24 --vocab 256 --no-mlp --norm-eps 2e-05 --mixers \
mamba3:state_size=10:head_dim=12:n_groups=1:expand=2:rope_fraction=0.5:A_floor=0.0001:is_mimo=false:is_outproj_norm=false:use_bias=true:norm_eps=2e-05" ] ||
    fail "flags: $(cat "$dir/fla.flags")"

# The first half of fc1 is what is multiplied, the second is the gate.
"$python" - "$dir" <<'PY' || fail "fc1 has other halves"
import sys, h5py, numpy as np
fc1 = np.load(sys.argv[1] + "/ssm.npz")["backbone.layers.1.mlp.fc1.weight"]
with h5py.File(sys.argv[1] + "/ssm.h5") as f:
    assert np.array_equal(f["params/model.layers.1.mlp.up_proj.weight"][...], fc1[:128])
    assert np.array_equal(f["params/model.layers.1.mlp.gate_proj.weight"][...], fc1[128:])
    assert "model.layers.1.mlp.fc1.weight" not in f["params"] and "lm_head.weight" not in f["params"]
PY

# Another rank, pairing or width of B and C does not load silently: its shapes are others.
for wrong in s/mimo_rank=4/mimo_rank=2/ s/is_mimo=true/is_mimo=false/ s/rope_fraction=1.0/rope_fraction=0.5/ s/n_groups=2/n_groups=1/; do
    # shellcheck disable=SC2046
    if train wrong $(sed "$wrong" "$dir/ssm.flags") --init "$dir/ssm.h5"; then fail "$wrong was loaded"; fi
    grep -q 'do not fit: ' "$dir/wrong.txt" || fail "$wrong: $(cat "$dir/wrong.txt")"
done

# ---- What is refused ----
config() { # words, and what is changed in a configuration, as python
    "$python" - "$dir" "$2" <<'PY'
import json, sys
with open(sys.argv[1] + "/ssm.json") as f:
    c = json.load(f)
with open(sys.argv[1] + "/fla.json") as f:
    fla = json.load(f)
exec(sys.argv[2])
with open(sys.argv[1] + "/bad.json", "w") as f:
    json.dump(c, f)
PY
    refuses "$1" --flags "$dir/bad.json"
}
config "ssm_cfg has no layer Mamba3" 'c["ssm_cfg"]["layer"] = "Mamba2"'
config "ssm_cfg has no layer Mamba3" 'c["ssm_cfg"] = "Mamba3"'
config "ssm_cfg has a key that is not Mamba-3's: use_rope" 'c["ssm_cfg"]["use_rope"] = True'
config "some of its layers are attention" 'c["attn_layer_idx"] = [1]'
config "its norms are LayerNorm" 'c["rms_norm"] = False'
config "it has no d_model" 'del c["d_model"]'
config "d_state is 'x' and should be a whole number" 'c["ssm_cfg"]["d_state"] = "x"'
config "d_state is 1099511627776 and should be a whole number up to" 'c["ssm_cfg"]["d_state"] = 1 << 40'
config "n_layer is True and should be a whole number" 'c["n_layer"] = True'
config "is_mimo is 1 and should be true or false" 'c["ssm_cfg"]["is_mimo"] = 1'
config "A_floor is nan and should be a number above 0" 'c["ssm_cfg"]["A_floor"] = float("nan")'
config "it has both d_state and state_size" 'c["ssm_cfg"]["state_size"] = 6'
config "its model_type is 'mamba2', and mamba3 is wanted" 'c = fla; c["model_type"] = "mamba2"'
config "its hidden_act is 'gelu'" 'c = fla; c["hidden_act"] = "gelu"'
config "it is no object" 'c = [1]'
echo '{"a": 1, "a": 2}' >"$dir/bad.json"
refuses "a is there twice" --flags "$dir/bad.json"
echo '{"a": ' >"$dir/bad.json"
refuses "it is no JSON" --flags "$dir/bad.json"
head -c 1100000 /dev/zero >"$dir/bad.json"
refuses "a configuration has 1048576 bytes at most" --flags "$dir/bad.json"
refuses "--flags has FROM alone" --flags "$dir/ssm.json" "$dir/no.h5"
"$python" - "$dir" <<'PY'
import sys, numpy as np
folder = sys.argv[1] + "/"
fc1 = "backbone.layers.0.mlp.fc1.weight"
t = dict(np.load(folder + "ssm.npz"))
np.savez(folder + "odd.npz", **{**t, fc1: t[fc1][:-1]})
np.savez(folder + "both.npz", **t, **{"model.layers.0.mlp.up_proj.weight": t[fc1]})
np.savez(folder + "alone.npz", **{"model.layers.0.mlp.gate_proj.weight": t[fc1]})
np.savez(folder + "single.npz", **{"model.layers.0.mlp.up_proj.weight": t[fc1]})
PY
refuses "model.layers.0.mlp.fc1.weight has the shape [255, 16], which has no two halves" "$dir/odd.npz" "$dir/no.h5"
refuses "two tensors would be model.layers.0.mlp.up_proj.weight" "$dir/both.npz" "$dir/no.h5"
for name in alone:up single:gate; do
    convert "$dir/${name%:*}.npz" "$dir/${name%:*}.h5"
    refuses "no ${name#*:}_proj" --style mamba_ssm "$dir/${name%:*}.h5" "$dir/no.npz"
done
[ ! -e "$dir/no.h5" ] && [ ! -e "$dir/no.npz" ] || fail "a file was written"

[ $failed = 0 ] && echo "checkpoints of Mamba-3 come in and go out"
exit $failed
