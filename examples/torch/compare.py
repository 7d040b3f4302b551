"""compare.py [qwen3_5|mamba2] - a small model of transformers, one training step and some tokens, with the kernels and
without: the same numbers, and how long each took."""

import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# transformers calls flash-linear-attention where it is installed, and on a CPU that stops.
sys.modules["fla"] = None
import torch  # noqa: E402
import transformers as hf  # noqa: E402

import palimpsest_torch  # noqa: E402

hf.logging.set_verbosity_error()


def make(name):
    torch.manual_seed(1)
    sizes = {"vocab_size": 256, "hidden_size": 128, "num_hidden_layers": 3}
    if name == "mamba2":
        return hf.Mamba2ForCausalLM(hf.Mamba2Config(**sizes, num_heads=4, head_dim=64, state_size=64, n_groups=1))
    return hf.Qwen3_5ForCausalLM(hf.Qwen3_5TextConfig(
        **sizes, num_attention_heads=2, num_key_value_heads=1, head_dim=64, linear_num_key_heads=2,
        linear_num_value_heads=2, linear_key_head_dim=64, linear_value_head_dim=64, intermediate_size=256,
        layer_types=["linear_attention"] * 2 + ["full_attention"]))


def run(model, ids):
    """Loss and gradient norm of one step, tokens that the model goes on with, and seconds."""
    start = time.perf_counter()
    model.zero_grad()
    logits = model(ids, use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    norm = sum(p.grad.square().sum() for p in model.parameters() if p.grad is not None).sqrt()
    with torch.no_grad():
        tokens = model.generate(ids[:1, :8], attention_mask=torch.ones_like(ids[:1, :8]), max_new_tokens=16,
                                min_new_tokens=16, do_sample=False, pad_token_id=0)
    return loss.item(), norm.item(), tokens[0, 8:].tolist(), time.perf_counter() - start


def main():
    model = make(sys.argv[1] if len(sys.argv) > 1 else "qwen3_5").eval()
    ids = torch.randint(256, (4, 128), generator=torch.Generator().manual_seed(2))
    print(palimpsest_torch.describe())
    for name, before in (("without", palimpsest_torch.restore), ("with", palimpsest_torch.use)):
        before()
        run(model, ids)  # the first time takes longer
        loss, norm, tokens, seconds = run(model, ids)
        print(f"{name:8} loss {loss:.5f}  gradient {norm:.5f}  tokens {tokens[:8]}..  {seconds:.3f} s")


main()
