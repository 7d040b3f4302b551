"""convert_config.py - what train_lm has to be told of a published Mamba-3 model, by its config.json.

Two repositories have such files: mamba_ssm (d_model, ssm_cfg with d_state, headdim, ngroups) and
flash-linear-attention (hidden_size, state_size, head_dim, n_groups). The file is not trusted.
"""
import json
import math

from convert_files import Bad, once

MOST_BYTES = 1 << 20
MOST = 1 << 30

# Keys of a mixer here, and their names there. What is not in a file has the same default in all
# three places.
MIXER = {
    "state_size": (("d_state", "state_size"), int),
    "head_dim": (("headdim", "head_dim"), int),
    "n_groups": (("ngroups", "n_groups"), int),
    "expand": (("expand",), float),
    "rope_fraction": (("rope_fraction",), float),
    "A_floor": (("A_floor",), float),
    "is_mimo": (("is_mimo",), bool),
    "mimo_rank": (("mimo_rank",), int),
    "is_outproj_norm": (("is_outproj_norm",), bool),
    "use_bias": (("use_bias",), bool),
    "norm_eps": (("norm_eps",), float),
}
# Of ssm_cfg, what does not change the model that is computed.
SILENT = {"layer", "dt_min", "dt_max", "dt_init_floor", "chunk_size", "dropout", "layer_idx", "n_layer"}
NOTE = (
    "A_act=softplus is taken, as in flash-linear-attention and in mamba_ssm until 2026-06-01. "
    "Models that later versions of mamba_ssm trained have A_act=heavy_tail; no file says which."
)


def read(path):
    with open(path, "rb") as f:
        data = f.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise Bad(f"a configuration has {MOST_BYTES} bytes at most")
    try:
        config = json.loads(data.decode("utf-8"), object_pairs_hook=once)
    except Bad:
        raise
    except (ValueError, RecursionError) as e:
        raise Bad(f"it is no JSON: {e}") from e
    if not isinstance(config, dict):
        raise Bad("it is no object")
    return config


def get(config, key, kind, otherwise=None):
    """A value of the kind that is wanted; none of the same file is given where it is missing."""
    value = config.get(key, otherwise)
    if value is None and key not in config:
        raise Bad(f"it has no {key}")
    if kind is bool:
        if type(value) is not bool:
            raise Bad(f"{key} is {value!r} and should be true or false")
    elif kind is int:
        if type(value) is not int or not 0 <= value <= MOST:
            raise Bad(f"{key} is {value!r} and should be a whole number up to {MOST}")
    elif type(value) not in (int, float) or not math.isfinite(value) or not 0 < value <= MOST:
        raise Bad(f"{key} is {value!r} and should be a number above 0, up to {MOST}")
    return value


def text(value):
    return str(value).lower() if isinstance(value, bool) else repr(value)


def mixer_of(config):
    out = ["mamba3"]
    for ours, (names, kind) in MIXER.items():
        there = [name for name in names if name in config]
        if len(there) > 1:
            raise Bad(f"it has both {there[0]} and {there[1]}")
        for name in there:
            value = get(config, name, kind)
            if ours != "mimo_rank" or config.get("is_mimo"):  # without is_mimo it is not used
                out.append(f"{ours}={text(value)}")
    return ":".join(out)


def of_mamba_ssm(config):
    ssm = config["ssm_cfg"]
    if not isinstance(ssm, dict) or ssm.get("layer") != "Mamba3":
        raise Bad("ssm_cfg has no layer Mamba3")
    known = SILENT.union(*(names for names, _ in MIXER.values())) - {"use_bias", "norm_eps"}
    strange = [key for key in ssm if key not in known]
    if strange:
        raise Bad(f"ssm_cfg has a key that is not Mamba-3's: {strange[0]}")
    if config.get("attn_layer_idx"):
        raise Bad("some of its layers are attention, whose names and rotation are others than here")
    if not get(config, "rms_norm", bool, True):
        raise Bad("its norms are LayerNorm, and here they are RMSNorm")
    pad = get(config, "pad_vocab_size_multiple", int, 8) or 1
    vocab = -(-get(config, "vocab_size", int) // pad) * pad
    mlp = -(-get(config, "d_intermediate", int, 0) // 128) * 128  # as its GatedMLP rounds
    return (get(config, "n_layer", int), get(config, "d_model", int), vocab, mlp,
            get(config, "tie_embeddings", bool, True), None, mixer_of(ssm))


def of_fla(config):
    if config.get("model_type") != "mamba3":
        raise Bad(f"its model_type is {config.get('model_type')!r}, and mamba3 is wanted")
    if config.get("hidden_act", "silu") != "silu":
        raise Bad(f"its hidden_act is {config['hidden_act']!r}, and here it is silu")
    return (get(config, "num_hidden_layers", int, 48), get(config, "hidden_size", int, 2048),
            get(config, "vocab_size", int, 32000), 0, get(config, "tie_word_embeddings", bool, False),
            get(config, "norm_eps", float, 1e-5), mixer_of(config))


def flags_of(path):
    """One line of flags for train_lm, beside --init, --data and --out."""
    config = read(path)
    layers, width, vocab, mlp, tie, eps, mixer = (of_mamba_ssm if "ssm_cfg" in config else of_fla)(config)
    flags = [f"--layers {layers} --width {width} --vocab {vocab}"]
    flags.append(f"--mlp-width {mlp}" if mlp else "--no-mlp")
    if tie:
        flags.append("--tie")
    if eps is not None:
        flags.append(f"--norm-eps {text(eps)}")
    return " ".join(flags + [f"--mixers {mixer}"])
