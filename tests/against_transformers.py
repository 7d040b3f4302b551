#!/usr/bin/env python3
"""against_transformers.py REPLAY [WORD] - random models of many sizes, options and spellings.
against_transformers.py REPLAY --folder DIR... - models that are there.

transformers makes each model, writes its folder and computes logits in float64 from the numbers of
the files; REPLAY (build/tests/replay) has to find the same logits, scores and gradients when it
opens the folder. A case changes the configuration, or edits the folder after it was written. WORD
chooses the cases whose name has it. Exit status: 0 all agree, 1 one does not.
"""
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

# transformers calls flash-linear-attention where it is installed, and on a CPU that stops.
sys.modules["fla"] = None

import h5py  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

ROPE = {"rope_type": "default", "rope_theta": 1000.0}
SMALL = dict(vocab_size=48, hidden_size=16, intermediate_size=24, num_attention_heads=4, num_key_value_heads=2,
             bos_token_id=1, eos_token_id=2, pad_token_id=None)
MAMBA = dict(mamba_n_heads=4, mamba_d_head=8, mamba_d_state=8, mamba_n_groups=1, mamba_expand=2, mamba_chunk_size=8)
BASES = {
    "qwen": ("Qwen3_5TextConfig", dict(SMALL, num_hidden_layers=4, head_dim=8, linear_num_key_heads=2, linear_num_value_heads=4,
                                       linear_key_head_dim=8, linear_value_head_dim=8,
                                       rope_parameters=dict(ROPE, partial_rotary_factor=0.25))),
    "granite": ("GraniteMoeHybridConfig", dict(SMALL, **MAMBA, num_hidden_layers=3, num_local_experts=0, shared_intermediate_size=24,
                                               layer_types=["mamba", "attention", "mamba"], embedding_multiplier=3.0,
                                               logits_scaling=2.0, residual_multiplier=0.5, attention_multiplier=0.3)),
    "olmo": ("OlmoHybridConfig", dict(SMALL, num_hidden_layers=4, rope_parameters=None)),
    "mamba2": ("Mamba2Config", dict(vocab_size=48, hidden_size=16, num_heads=4, head_dim=8, state_size=8, n_groups=1,
                                    num_hidden_layers=2, chunk_size=8, bos_token_id=1, eos_token_id=2, pad_token_id=None)),
    "nemotron": ("NemotronHConfig", dict(SMALL, head_dim=8, ssm_state_size=8, mamba_num_heads=4, mamba_head_dim=8, n_groups=2,
                                         chunk_size=8, layers_block_type=["linear_attention", "mlp", "full_attention", "mlp"])),
    "falcon": ("FalconH1Config", dict(SMALL, **dict(MAMBA, mamba_d_ssm=32), num_hidden_layers=2, rope_parameters=ROPE,
                                      key_multiplier=0.4, ssm_multipliers=[0.5, 0.6, 0.7, 0.8, 0.9], mlp_multipliers=[0.9, 0.4],
                                      embedding_multiplier=5.0, lm_head_multiplier=0.5, attention_in_multiplier=1.1,
                                      attention_out_multiplier=0.9, ssm_in_multiplier=1.25, ssm_out_multiplier=0.24)),
    "lfm2": ("Lfm2Config", dict(SMALL, num_hidden_layers=3, block_auto_adjust_ff_dim=False, rope_parameters=ROPE,
                                layer_types=["conv", "full_attention", "conv"])),
}


def edit(change):
    """An edit of config.json."""
    def done(folder):
        path = folder + "/config.json"
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
        change(config)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(config, file)
    return done


def without(*keys):
    return edit(lambda c: [c.pop(k, None) for k in keys])


def flat_rope(config):
    """As versions before 5 wrote it."""
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope["rope_theta"]
    config["rope_scaling"] = None
    if "partial_rotary_factor" in rope:
        config["partial_rotary_factor"] = rope["partial_rotary_factor"]
    config["torch_dtype"] = config.pop("dtype")


def shards(folder):
    tensors = load_file(folder + "/model.safetensors")
    names = sorted(tensors, key=lambda n: hash(n) % 97)
    places = {}
    for i in range(3):
        file = f"model-{i + 1:05d}-of-00003.safetensors"
        part = {n: tensors[n].contiguous() for n in names[i::3]}
        save_file(part, f"{folder}/{file}", metadata={"format": "pt"})
        places.update({n: file for n in part})
    with open(folder + "/model.safetensors.index.json", "w", encoding="utf-8") as index:
        json.dump({"metadata": {"total_size": 0}, "weight_map": places}, index)
    os.remove(folder + "/model.safetensors")


def renamed(pairs):
    def done(folder):
        tensors = load_file(folder + "/model.safetensors")
        out = {}
        for name, tensor in tensors.items():
            for old, new in pairs:
                name = re.sub(old, new, name)
            if name:
                out[name] = tensor
        save_file(out, folder + "/model.safetensors", metadata={"format": "pt"})
    return done


# Name, changes of the configuration, options: dtype of the file, edits that transformers reads too, edits after it has read.
CASES = []


def case(base, name, changes=None, **how):
    CASES.append((base, name, changes or {}, how))


for b in BASES:
    case(b, "as it is")
    case(b, "tied", {"tie_word_embeddings": True})
    case(b, "untied", {"tie_word_embeddings": False})
    case(b, "bf16", dtype="bfloat16")
    case(b, "f16", dtype="float16")
    case(b, "shards", both=[shards])
    case(b, "torch_dtype", later=[edit(lambda c: c.__setitem__("torch_dtype", c.pop("dtype")))])
    case(b, "few keys", later=[without("dtype", "architectures", "use_cache", "transformers_version", "initializer_range",
                                       "bos_token_id", "eos_token_id", "max_position_embeddings")])
    if b != "mamba2":
        case(b, "one kv head", {"num_key_value_heads": 1})
        case(b, "all kv heads", {"num_key_value_heads": 4})
        case(b, "two heads", {"num_attention_heads": 2, "num_key_value_heads": 2})
    if b not in ("mamba2", "nemotron", "olmo"):
        case(b, "one layer", {"num_hidden_layers": 1, **({"layer_types": BASES[b][1]["layer_types"][1:2]}
                                                         if "layer_types" in BASES[b][1] else {})})
    if b in ("granite", "falcon"):
        case(b, "groups", {"mamba_n_groups": 2})
        case(b, "four groups", {"mamba_n_groups": 4, **({"mamba_rms_norm": True} if b == "falcon" else {})})
        case(b, "auto head", {"mamba_d_head": "auto"})
        case(b, "no conv bias", {"mamba_conv_bias": False})
        case(b, "dt bounds", {"time_step_limit": [0.2, 0.9]})
        case(b, "conv of 3", {"mamba_d_conv": 3})
        case(b, "more heads", {"mamba_n_heads": 8, "mamba_d_head": 4})
    if b in ("granite", "falcon", "qwen", "olmo"):
        case(b, "attention bias", {"attention_bias": True})

for name, changes in {
        "head dim 16": {"head_dim": 16}, "rotary of half": {"rope_parameters": dict(ROPE, partial_rotary_factor=0.5)},
        "rotary of all": {"rope_parameters": dict(ROPE, partial_rotary_factor=1.0)}, "equal heads": {"linear_num_value_heads": 2},
        "six v heads": {"linear_num_value_heads": 6}, "wide values": {"linear_value_head_dim": 16},
        "mrope": {"rope_parameters": dict(ROPE, partial_rotary_factor=0.5, mrope_interleaved=True, mrope_section=[1, 1, 0])},
        "eps": {"rms_norm_eps": 1e-3}, "linear only": {"layer_types": ["linear_attention"] * 4},
        "full first": {"layer_types": ["full_attention", "linear_attention"] * 2}, "conv of 2": {"linear_conv_kernel_dim": 2},
        "no rope": {"rope_parameters": None}}.items():
    case("qwen", name, changes)
case("qwen", "flat rope", later=[edit(flat_rope)])
case("qwen", "interval", {"layer_types": ["linear_attention", "full_attention"] * 2},
     later=[edit(lambda c: (c.pop("layer_types"), c.__setitem__("full_attention_interval", 2)))])
case("qwen", "interval of 4", later=[without("layer_types")])
case("qwen", "no defaults", later=[without("hidden_act", "attention_bias", "attention_dropout", "linear_conv_kernel_dim",
                                           "rms_norm_eps", "tie_word_embeddings", "mlp_only_layers")])

# The text part of the multimodal model.
VISION = dict(depth=1, hidden_size=16, intermediate_size=16, num_heads=2, out_hidden_size=16, patch_size=2,
              num_position_embeddings=4, deepstack_visual_indexes=[])
case("qwen", "wrapper", wrapped=True)
case("qwen", "wrapper, tied in both", {"tie_word_embeddings": True}, wrapped=True)
case("qwen", "wrapper, nothing outside", wrapped=True, later=[without("vision_config", "image_token_id", "video_token_id",
                                                                       "tie_word_embeddings", "dtype")])
case("qwen", "wrapper, shards, bf16", wrapped=True, dtype="bfloat16", both=[shards])
case("qwen", "wrapper, interval", wrapped=True, later=[edit(lambda c: c["text_config"].pop("layer_types"))])

for name, changes in {
        "rope": {"position_embedding_type": "rope", "rope_parameters": ROPE}, "no multipliers": {
            "embedding_multiplier": 1.0, "logits_scaling": 1.0, "residual_multiplier": 1.0, "attention_multiplier": 1.0},
        "whole multipliers": {"embedding_multiplier": 12, "logits_scaling": 3}, "proj bias": {"mamba_proj_bias": True},
        "attention only": {"layer_types": ["attention"] * 3}, "mamba only": {"layer_types": ["mamba"] * 3},
        "full names": {"layer_types": ["linear_attention", "full_attention", "linear_attention"]}}.items():
    case("granite", name, changes)
case("granite", "layers_block_type", later=[edit(lambda c: c.__setitem__("layers_block_type", c.pop("layer_types")))])
case("granite", "flat rope", {"position_embedding_type": "rope", "rope_parameters": ROPE}, later=[edit(flat_rope)])
case("granite", "no kv key", {"num_key_value_heads": None}, later=[without("num_key_value_heads", "rope_parameters",
                                                                           "position_embedding_type", "mamba_proj_bias")])

for name, changes in {
        "kv of linear": {"linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 4,
                         "linear_value_head_dim": 12},
        "more values": {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 4,
                        "linear_value_head_dim": 8},
        "no neg eigval": {"linear_allow_neg_eigval": False}, "rope": {"rope_parameters": ROPE},
        "two layers": {"num_hidden_layers": 2}, "eight layers": {"num_hidden_layers": 8},
        "order": {"layer_types": ["full_attention", "linear_attention", "linear_attention", "full_attention"]},
        "eps": {"rms_norm_eps": 1e-3}}.items():
    case("olmo", name, changes)
case("olmo", "no layer_types", later=[without("layer_types", "linear_num_key_heads", "linear_num_value_heads",
                                              "linear_key_head_dim", "linear_value_head_dim", "num_key_value_heads")],
     changes={"num_key_value_heads": None})

for name, changes in {"groups": {"n_groups": 2}, "bias": {"use_bias": True}, "no conv bias": {"use_conv_bias": False},
                      "dt": {"time_step_limit": [0.1, 0.5]}, "expand 3": {"expand": 3, "num_heads": 6},
                      "kernel": {"conv_kernel": 2}, "eps": {"layer_norm_epsilon": 1e-3},
                      "residual": {"residual_in_fp32": False}}.items():
    case("mamba2", name, changes)
case("mamba2", "no limit", later=[without("time_step_limit", "residual_in_fp32", "hidden_act", "use_bias")])
case("mamba2", "embedding", later=[renamed([("backbone.embeddings", "backbone.embedding")])])

for name, changes in {"one group": {"n_groups": 1}, "use_bias": {"use_bias": True}, "mlp bias": {"mlp_bias": True},
                      "dt": {"time_step_min": 0.2}, "no conv bias": {"use_conv_bias": False}, "eps": {"layer_norm_epsilon": 1e-3},
                      "other layers": {"layers_block_type": ["mlp", "full_attention", "linear_attention", "linear_attention"]},
                      "mamba only": {"layers_block_type": ["linear_attention"] * 2}}.items():
    case("nemotron", name, changes)
case("nemotron", "pattern", later=[edit(lambda c: (c.pop("layers_block_type", None), c.pop("layer_types", None),
                                                   c.__setitem__("hybrid_override_pattern", "M-*-")))])

for name, changes in {"norm": {"mamba_rms_norm": True}, "norm, then gate": {"mamba_rms_norm": True, "mamba_norm_before_gate": False},
                      "biases": {"mamba_proj_bias": True, "projectors_bias": True, "mlp_bias": True},
                      "no multipliers": {"key_multiplier": 1.0, "ssm_multipliers": None, "mlp_multipliers": None},
                      "inner from expand": {"mamba_d_ssm": None}}.items():
    case("falcon", name, changes)
case("falcon", "flat rope", later=[edit(flat_rope)])
case("falcon", "kv null", {"num_key_value_heads": None}, later=[edit(lambda c: c.__setitem__("num_key_value_heads", None))])

for name, changes in {"conv bias": {"conv_bias": True}, "cache 4": {"conv_L_cache": 4}, "eps": {"norm_eps": 1e-3},
                      "adjusted": {"block_auto_adjust_ff_dim": True, "block_multiple_of": 8},
                      "adjusted more": {"block_auto_adjust_ff_dim": True, "block_multiple_of": 5, "block_ffn_dim_multiplier": 1.3,
                                        "intermediate_size": 25},
                      "all attention": {"layer_types": None}, "indices": {"layer_types": None, "full_attn_idxs": [0, 2]}}.items():
    case("lfm2", name, changes)
case("lfm2", "only indices", {"layer_types": None, "full_attn_idxs": [1]}, later=[without("layer_types")])
case("lfm2", "flat rope", later=[edit(flat_rope)])
case("lfm2", "earlier names", later=[edit(lambda c: (c.__setitem__("block_ff_dim", c.pop("intermediate_size")),
                                                     c.__setitem__("tie_embedding", c.pop("tie_word_embeddings"))))])


def draw(model):
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, p in model.named_parameters():
            x = torch.randn(p.shape, generator=generator)
            if "norm" in name:
                x = 0.3 * x + (0 if "qwen" in model.config.model_type.lower() and ".linear_attn.norm" not in name else 1)
            elif "A_log" in name:
                x = 0.5 * x
            elif p.ndim > 1:
                x = x * 0.6 / p.shape[-1] ** 0.5 if "conv" not in name else 0.4 * x
            else:
                x = 0.5 * x
            p.copy_(x)


def in_double(model):
    """Everything in float64, what asks for float32 too, and the rotary frequencies made again."""
    model.double()
    kept = torch.get_default_dtype()
    for m in model.modules():
        if hasattr(m, "inv_freq") and hasattr(m, "compute_default_rope_parameters"):
            m.inv_freq, _ = m.compute_default_rope_parameters(m.config)
        if hasattr(m, "mup_vector"):
            torch.set_default_dtype(torch.float64)
            m.mup_vector = sys.modules[type(m).__module__].compute_mup_vector(model.config)
            torch.set_default_dtype(kept)


def reference(folder, tokens):
    model, said = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                                                    output_loading_info=True)
    if said["missing_keys"] or said["mismatched_keys"]:
        raise ValueError(f"{folder} lacks {said}")
    model.eval()
    kept = torch.float32, torch.float, torch.Tensor.float
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double
    try:
        in_double(model)
        logits = model(tokens[:, :-1], use_cache=False).logits
        if logits.dtype != torch.float64:
            raise ValueError(f"logits are {logits.dtype}")
        flat = logits.reshape(-1, logits.shape[-1])
        torch.nn.functional.cross_entropy(flat, tokens[:, 1:].reshape(-1)).backward()
        score = logits[0].log_softmax(-1).gather(1, tokens[0, 1:, None])[:, 0]
    finally:
        torch.float32, torch.float, torch.Tensor.float = kept
    files = glob.glob(folder + "/*.safetensors")
    names = [n for f in files for n in safe_open(f, "pt").keys()]
    grads = {}
    for name, p in model.named_parameters():  # under the name that the file has
        end = "." + name.split(".", 1)[1]
        found = [n for n in names if n == name] or [n for n in names if n.endswith(end)]
        if p.grad is not None and len(found) == 1:
            grads[found[0]] = p.grad
    return logits.detach().numpy(), score.detach().numpy(), grads


def run(base, name, changes, how, folder, replay):
    class_name, values = BASES[base]
    config = getattr(transformers, class_name)(**dict(values, **changes))
    if how.get("wrapped"):
        config = transformers.Qwen3_5Config(text_config=config.to_dict(), vision_config=VISION,
                                            tie_word_embeddings=config.tie_word_embeddings)
        model = transformers.Qwen3_5ForConditionalGeneration(config)
    else:
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    draw(model)
    model.to(getattr(torch, how.get("dtype", "float32"))).save_pretrained(folder)
    for change in how.get("both", []):
        change(folder)
    tokens = torch.randint(0, 48, (2, 20), generator=torch.Generator().manual_seed(5))
    logits, score, grads = reference(folder, tokens)
    for change in how.get("later", []):
        change(folder)
        if not any(w in name for w in ("embedding", "adjusted")):
            again, _, _ = reference(folder, tokens)
            if not np.allclose(again, logits, rtol=0, atol=1e-9):
                return ["transformers reads the edited folder as another model"]
    return compare(folder, tokens, logits, score, grads, replay)


def compare(folder, tokens, logits, score, grads, replay):
    """What replay finds wrong, as lines."""
    path = folder + "/results.h5"
    with h5py.File(path, "w") as f:
        f.attrs["kind"] = "model"
        f.attrs["json"] = "{}"
        f.attrs["f32_error"] = 1e-5
        f.attrs["f32_train_error"] = np.array([1e-5, 1e-5])
        f["in/tokens"] = tokens.numpy()[None]
        f["in/prompt"] = np.array([1, 2])
        f["out/logits"] = logits[:1]
        f["out/logits_last"] = logits[:, -1]
        f["out/score"] = score
        for n, g in grads.items():
            f["grad/params/" + n.replace("/", "_")] = g.numpy()
    said = subprocess.run([replay, "--dtype", "f64", "--folder", folder, path], capture_output=True, text=True, check=False).stdout
    os.remove(path)
    good = [w for w in ("logits", "logits_last", "score") if re.search(rf"ok .*\b{w}\b", said)]
    bad = [line.strip() for line in said.splitlines() if re.search(r"FAIL +(out/(logits|score)|grad/params).*error|config.json", line)]
    if len(good) < 3 or not re.search(r"ok +grad/params", said):
        bad = bad or [line.strip() for line in said.splitlines()]
    return bad


def run_folder(folder, replay):
    tokens = torch.randint(0, 300, (2, 40), generator=torch.Generator().manual_seed(5))
    return compare(folder, tokens, *reference(folder, tokens), replay)


def main():
    replay, word = sys.argv[1], " ".join(sys.argv[2:])
    folders = sys.argv[3:] if sys.argv[2:3] == ["--folder"] else []
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    failed = done = 0
    for folder in folders:
        bad = run_folder(folder, replay)
        print("\n    ".join([folder] + bad[:6]))
        failed, done = failed + bool(bad), done + 1
    for base, name, changes, how in CASES:
        if folders or word not in f"{base}: {name}":
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                bad = run(base, name, changes, how, folder, replay)
            except Exception as e:  # what transformers cannot do is told, too
                bad = [f"transformers: {type(e).__name__}: {str(e)[:300]}"]
        done += 1
        failed += bool(bad)
        if bad:
            print(f"{base}: {name}")
            for line in bad[:6]:
                print("    " + line)
        sys.stdout.flush()
    print(f"{done} models, {failed} not the same")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
