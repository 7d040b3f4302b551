"""run.py - models of transformers on a CPU, with their fallback in Python and with the kernels of examples/torch.

A training step is forward, loss, backward; the two are measured in turns in one process, and the shortest of each
counts. Generation is that of model.generate, greedy, with its cache.
"""

import argparse
import os
import platform
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "torch"))
sys.modules["fla"] = None  # transformers calls it where it is installed, and on a CPU that stops


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", default="2", help="numbers of threads, such as 1,2,16")
    parser.add_argument("--models", default="gdn,mamba2", help="gdn (Qwen3.5, its linear layers), mamba2")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--len", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=64, help="tokens to generate; 0: none")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpu", action="store_true", help="count processor time, where other programs run; with 1 thread")
    return parser.parse_args()


def processor():
    with open("/proc/cpuinfo") as text:
        names = [line.split(":", 1)[1].strip() for line in text if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} processors"


def make(kind, a, attention):
    import transformers as hf

    common = {"vocab_size": 256, "hidden_size": a.width, "num_hidden_layers": a.layers}
    if kind == "mamba2":
        return hf.Mamba2ForCausalLM(hf.Mamba2Config(
            **common, num_heads=2 * a.width // 64, head_dim=64, state_size=128, n_groups=1, chunk_size=128))
    heads = max(a.width // 64, 1)
    return hf.Qwen3_5ForCausalLM(hf.Qwen3_5TextConfig(
        **common, num_attention_heads=heads, num_key_value_heads=heads, head_dim=64, linear_num_key_heads=heads,
        linear_num_value_heads=heads, linear_key_head_dim=64, linear_value_head_dim=64,
        intermediate_size=4 * a.width,
        layer_types=["linear_attention"] * (a.layers - attention) + ["full_attention"] * attention))


def step(torch, model, ids):
    model.zero_grad()
    logits = model(ids, use_cache=False).logits
    torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()


def generate(torch, model, ids, tokens):
    with torch.no_grad():
        model.generate(ids[:1, :16], attention_mask=torch.ones_like(ids[:1, :16]), max_new_tokens=tokens,
                       min_new_tokens=tokens, do_sample=False, pad_token_id=0)


def shortest(pt, rounds, work, clock):
    """Seconds of the fallback and of the kernels, in turns."""
    best = [float("inf"), float("inf")]
    for i in range(2 * rounds + 2):  # the first of each warms up
        with_kernels = i % 2
        pt.use() if with_kernels else pt.restore()
        start = clock()
        work()
        if i >= 2:
            best[with_kernels] = min(best[with_kernels], clock() - start)
    pt.restore()
    return best


def main():
    a = arguments()
    import torch
    import transformers

    import palimpsest_torch as pt

    transformers.logging.set_verbosity_error()
    print(f"{processor()}, {time.strftime('%Y-%m-%d')}, torch {torch.__version__}, transformers {transformers.__version__}")
    print(f"{pt.describe()}; width {a.width}, {a.layers} layers, a step of {a.batch} x {a.len} tokens\n")
    print("| model | threads | work | fallback, tokens/s | kernels, tokens/s | times as fast |")
    print("|---|---|---|---|---|---|")
    for kind in a.models.split(","):
        for threads in map(int, a.threads.split(",")):
            torch.set_num_threads(threads)
            torch.manual_seed(1)
            ids = torch.randint(256, (a.batch, a.len))
            # The cache of Qwen3.5 wants a layer of attention.
            trained, writing = make(kind, a, 0).train(), make(kind, a, 1).eval()
            work = [("training step", a.batch * a.len, lambda: step(torch, trained, ids))]
            if a.tokens:
                work.append((f"generation of {a.tokens}", a.tokens, lambda: generate(torch, writing, ids, a.tokens)))
            for name, count, run in work:
                slow, fast = shortest(pt, a.rounds, run, time.process_time if a.cpu else time.perf_counter)
                print(f"| {kind} | {threads} | {name} | {count / slow:.0f} | {count / fast:.0f} | {slow / fast:.2f} |",
                      flush=True)


main()
