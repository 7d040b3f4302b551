"""torch_kernels.py [--cases N] [--models] - examples/torch against references in torch.

Values and gradients of the rules, token by token in f64; what is refused; and, with --models, tiny models of
transformers with the kernels and without them.
"""

import argparse
import copy
import os
import re
import sys

import torch
import torch.nn.functional as F


def runtimes():
    """The OpenMP runtimes that this process has loaded."""
    with open("/proc/self/maps") as maps:
        return set(re.findall(r"/lib(gomp|iomp5|omp)[-.][^/\n]*$", maps.read(), re.MULTILINE))


of_torch = runtimes()
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "examples", "torch"))
import palimpsest_torch as pt  # noqa: E402
import torch_fla  # noqa: E402
import torch_more  # noqa: E402

failures, cancelled = [], []  # cancelled: cases whose gradients lose digits in any f32


def expect(good, text):
    if not good:
        failures.append(text)
        print("FAIL:", text)


def distance(x, ref):
    """||x - ref|| / max(||ref||, 0.01 sqrt(n)); infinite where one is not finite."""
    if not (torch.isfinite(x).all() and torch.isfinite(ref).all()):
        return float("inf")
    x, ref = x.double(), ref.double()
    least = 0.01 * max(ref.numel(), 1) ** 0.5
    return ((x - ref).norm() / max(ref.norm().item(), least)).item()


# ---- References, one token after the other ----


def spread(x, heads):
    return x.repeat_interleave(heads // x.shape[2], 2)


def unit(x):
    return x / (x.square().sum(-1, keepdim=True) + 1e-6).sqrt()


def delta(q, k, v, g, b, w, S, scale):
    """GDN-2, which the other delta rules are cases of; all of one sequence [B,T,HV,..]."""
    o = []
    for t in range(q.shape[1]):
        S = S * g[:, t].exp().unsqueeze(-1)
        old = ((b[:, t] * k[:, t]).unsqueeze(-1) * S).sum(-2)
        S = S + k[:, t].unsqueeze(-1) * (w[:, t] * v[:, t] - old).unsqueeze(-2)
        o.append(scale * (q[:, t].unsqueeze(-1) * S).sum(-2))
    return torch.stack(o, 1) if o else v, S


def ssm(x, dt, A, B, C, D, S):
    o = []
    for t in range(x.shape[1]):
        S = S * (A * dt[:, t]).exp()[..., None, None]
        S = S + B[:, t].unsqueeze(-1) * (dt[:, t].unsqueeze(-1) * x[:, t]).unsqueeze(-2)
        o.append((C[:, t].unsqueeze(-1) * S).sum(-2) + D.unsqueeze(-1) * x[:, t])
    return torch.stack(o, 1) if o else x, S


def packed(one, tokens, state, offsets, *more):
    """Calls `one` for each sequence of a packed row."""
    if offsets is None:
        return one(*tokens, *more[:1], *state, *more[1:]) if more else one(*tokens, *state)
    o, last = [], []
    for n in range(len(offsets) - 1):
        part = [x[:, offsets[n] : offsets[n + 1]] for x in tokens]
        y, s = one(*part, state[0][n : n + 1])
        o.append(y)
        last.append(s)
    return torch.cat(o, 1), torch.cat(last)


def reference(rule, x, state, offsets, normalize):
    heads = x["v"].shape[2] if rule != "mamba2" else x["x"].shape[2]
    if rule == "mamba2":
        B, C, D = spread(x["B"], heads), spread(x["C"], heads), x["D"]

        def one(v, dt, b, c, S):
            return ssm(v, dt, x["A"], b, c, D, S)

        return packed(one, [x["x"], x["dt"], B, C], [state.transpose(-1, -2)], offsets)
    q, k, v, g = x["q"], x["k"], x["v"], x["g"]
    if normalize:
        q, k = unit(q), unit(k)
    q, k = spread(q, heads), spread(k, heads)
    if rule == "gdn":
        g = g.unsqueeze(-1).expand_as(k)
    if rule == "gdn2":
        b, w = spread(x["b"], heads), x["w"]
        g = spread(g, heads)
    else:
        b, w = x["beta"].unsqueeze(-1).expand_as(k), x["beta"].unsqueeze(-1).expand_as(v)
    scale = k.shape[-1] ** -0.5

    def one(*tokens):
        return delta(*tokens, scale)

    return packed(one, [q, k, v, g, b, w], [state], offsets)


# ---- Random cases ----


def pick(generator, *choices):
    return choices[int(torch.randint(len(choices), (1,), generator=generator))]


def draw_decay(shape, kind, G):
    g = -torch.rand(shape, generator=G, dtype=torch.float64)
    if kind == "zero":
        return g * 0
    if kind == "deep":
        return g * 300
    if kind == "mixed":
        return torch.where(torch.rand(shape, generator=G) < 0.2, g * 300, g * 0.1)
    return g


def strided(x, G):
    """The same numbers with other strides: a slice of something wider, or transposed memory."""
    kind = pick(G, "slice", "turned", "step")
    if kind == "slice" or x.dim() < 3:
        wide = torch.full((*x.shape[:-1], x.shape[-1] + 3), float("nan"), dtype=x.dtype)
        wide[..., 1:-2] = x
        return wide[..., 1:-2]
    if kind == "turned":
        return x.transpose(1, 2).contiguous().transpose(1, 2)
    wide = torch.full((*x.shape[:-1], 2 * x.shape[-1]), float("nan"), dtype=x.dtype)
    wide[..., ::2] = x
    return wide[..., ::2]


def draw(rule, G):
    """Inputs by name in f64 that f32 holds exactly, an initial state, offsets."""
    B, T = pick(G, 1, 2, 3), pick(G, 1, 2, 7, 16, 33, 70)
    H, groups = pick(G, 1, 2), pick(G, 1, 2, 3)
    HV, K, V = H * groups, pick(G, 4, 8, 16, 20), pick(G, 4, 8, 12)
    offsets = None
    if pick(G, True, False):
        cuts = torch.randint(0, T + 1, (pick(G, 1, 2, 4),), generator=G).sort().values.tolist()
        B, offsets = 1, [0, *cuts, T]
    kind = pick(G, "mild", "zero", "deep", "mixed")

    def normal(*shape):
        return torch.randn(shape, generator=G, dtype=torch.float64)

    def uniform(*shape):
        return torch.rand(shape, generator=G, dtype=torch.float64)

    if rule == "mamba2":
        x = {"x": normal(B, T, HV, V), "dt": uniform(B, T, HV), "A": draw_decay((HV,), kind, G),
             "B": normal(B, T, H, K) * K**-0.5, "C": normal(B, T, H, K), "D": normal(HV)}
    else:
        x = {"q": normal(B, T, H, K), "k": normal(B, T, H, K), "v": normal(B, T, HV, V)}
        heads = pick(G, H, HV)
        x["g"] = draw_decay({"gdn": (B, T, HV), "kda": (B, T, HV, K), "gdn2": (B, T, heads, K)}[rule], kind, G)
        if rule == "gdn2":
            x |= {"b": uniform(B, T, pick(G, H, HV), K), "w": uniform(B, T, HV, V)}
        else:
            x["beta"] = uniform(B, T, HV)
    n = len(offsets) - 1 if offsets else B
    state = normal(n, HV, V, K) if rule == "mamba2" else normal(n, HV, K, V)
    normalize = rule != "mamba2" and pick(G, True, False)
    if rule != "mamba2" and not normalize:
        x["q"], x["k"] = unit(x["q"]), unit(x["k"])
    return {k: v.float().double() for k, v in x.items()}, state.float().double(), offsets, normalize


def ours(rule, x, state, offsets, normalize, recurrent):
    cu = None if offsets is None else torch.tensor(offsets)
    if rule == "mamba2":
        return pt.mamba_chunk_scan_combined(x["x"], x["dt"], x["A"], x["B"], x["C"], 64, D=x["D"], cu_seqlens=cu,
                                            initial_states=state, return_final_states=True, dt_softplus=False)
    name = {"gdn": "gated_delta_rule"}.get(rule, rule)
    f = getattr(pt, ("fused_recurrent_" if recurrent else "chunk_") + name)
    return f(**x, initial_state=state, output_final_state=True, use_qk_l2norm_in_kernel=normalize, cu_seqlens=cu)


def case(i):
    G = torch.Generator().manual_seed(i)
    rule, dtype = ("gdn", "kda", "gdn2", "mamba2")[i % 4], (torch.float32, torch.float64)[i // 4 % 2]
    x, state, offsets, normalize = draw(rule, G)
    with_state, recurrent = pick(G, True, False), pick(G, True, False)
    wanted = {n for n in [*x, "state"] if pick(G, True, True, False)} or {next(iter(x))}
    ref = {n: t.clone().requires_grad_(n in wanted) for n, t in x.items()}
    ref_state = (state if with_state else state * 0).clone().requires_grad_("state" in wanted and with_state)
    want = reference(rule, ref, ref_state, offsets, normalize)
    dense = {n: t.to(dtype) for n, t in x.items()}
    leaf = {n: (strided(t, G) if pick(G, True, False) else t).detach().requires_grad_(n in wanted)
            for n, t in dense.items()}
    leaf_state = state.to(dtype).requires_grad_("state" in wanted) if with_state else None
    o, last = ours(rule, leaf, leaf_state, offsets, normalize, recurrent)
    if rule == "mamba2":
        last = last.transpose(-1, -2)
    tolerance = 2e-6 if dtype == torch.float32 else 1e-10
    text = f"case {i}: {rule} {dtype} {list(o.shape)}, offsets {offsets}"
    for name, a, b in (("o", o, want[0]), ("state", last, want[1])):
        expect(distance(a, b) <= tolerance, f"{text}: {name} {distance(a, b):.2g}")
    c = [torch.randn(w.shape, generator=G, dtype=torch.float64) for w in want]
    used = pick(G, (0, 1), (0,), (1,))
    total = sum((want[j] * c[j]).sum() for j in used)
    mine = sum(((o, last)[j] * c[j].to(dtype)).sum() for j in used)
    if not mine.requires_grad:
        return
    pairs = [(n, leaf[n], ref[n]) for n in x if n in wanted]
    if with_state and "state" in wanted:
        pairs.append(("state", leaf_state, ref_state))
    refs = torch.autograd.grad(total, [r for _, _, r in pairs], allow_unused=True)
    got = torch.autograd.grad(mine, [r for _, r, _ in pairs], allow_unused=True)
    for (n, leaf_x, _), a, b in zip(pairs, got, refs):
        a = torch.zeros_like(leaf_x) if a is None else a
        b = torch.zeros(leaf_x.shape, dtype=torch.float64) if b is None else b
        error = distance(a, b)
        # A gradient of a few numbers may be a difference of large ones: then f32 itself has no more digits.
        if error > tolerance and dtype == torch.float32:
            own = in_f32(rule, x, state if with_state else state * 0, offsets, normalize, n, c, used, b)
            expect(error <= 4 * own, f"{text}: gradient of {n} {error:.2g}, the reference in f32 {own:.2g}")
            cancelled.append(i)
            continue
        expect(error <= tolerance, f"{text}: gradient of {n} {error:.2g}")


def in_f32(rule, x, state, offsets, normalize, name, c, used, truth):
    """How far the gradient of the reference is from the truth if it computes in f32."""
    leaf = {n: t.float().requires_grad_(n == name) for n, t in x.items()}
    S = state.float().requires_grad_(name == "state")
    want = reference(rule, leaf, S, offsets, normalize)
    total = sum((want[j] * c[j].float()).sum() for j in used)
    (g,) = torch.autograd.grad(total, S if name == "state" else leaf[name])
    return distance(g, truth)


# ---- Convolution, norm, steps ----


def others():
    torch.manual_seed(3)
    for dtype, tolerance in ((torch.float32, 2e-6), (torch.float64, 1e-10)):
        x = torch.randn(2, 6, 20, dtype=dtype, requires_grad=True)  # [B,C,T]
        w, b = torch.randn(6, 4, dtype=dtype, requires_grad=True), torch.randn(6, dtype=dtype, requires_grad=True)
        got = pt.causal_conv1d_fn(x, w, b, activation="silu")
        want = F.silu(F.conv1d(x.double(), w.double().unsqueeze(1), b.double(), padding=3, groups=6)[..., :20])
        expect(distance(got, want) <= tolerance, f"convolution in {dtype}")
        gate, gain = torch.randn(2, 20, 6, dtype=dtype, requires_grad=True), torch.randn(6, dtype=dtype).requires_grad_()
        y = x.transpose(1, 2).double()
        norms = [pt.gated_rms_norm(x.transpose(1, 2), gate, gain, 1e-5),
                 pt.gated_rms_norm(x.transpose(1, 2), gate, gain, 1e-5, 2, gate_first=True)]
        z = (y * F.silu(gate.double())).unflatten(-1, (2, 3))
        wants = [F.rms_norm(y, (6,), gain.double(), 1e-5) * F.silu(gate.double()),
                 F.rms_norm(z, (3,), None, 1e-5).flatten(-2) * gain.double()]
        for a, e in zip([got, *norms], [want, *wants]):
            leaves = [x, w, b] if a is got else [x, gate, gain]
            c = torch.randn(e.shape, dtype=torch.float64)
            grads = torch.autograd.grad((a * c.to(dtype)).sum(), leaves, retain_graph=True)
            refs = torch.autograd.grad((e * c).sum(), leaves, retain_graph=True)
            expect(distance(a, e) <= tolerance, f"norm or convolution in {dtype}")
            for n, m in zip(grads, refs):
                expect(distance(n, m) <= tolerance, f"gradient of norm or convolution in {dtype}")
    index = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 2], [0, 1, 1, 1, 1, 1, 1, 1]]).to(torch.int32)
    x, w = torch.randn(2, 6, 8), torch.randn(6, 4)
    rows = [x[0, :, :3], x[0, :, 3:7], x[0, :, 7:], x[1, :, :1], x[1, :, 1:]]
    want = torch.cat([pt.causal_conv1d_fn(r[None], w) for r in rows], 2)
    got = torch.cat(list(pt.causal_conv1d_fn(x, w, seq_idx=index)), 1)
    expect(torch.equal(got, want[0]), "seq_idx of a convolution")


def steps():
    """selective_state_update and fused_recurrent_*, a token at a time, against all tokens at once."""
    torch.manual_seed(4)
    B, T, nh, P, G, N = 2, 9, 4, 6, 2, 8
    x, dt, A, D = torch.randn(B, T, nh, P), torch.rand(B, T, nh), -torch.rand(nh), torch.randn(nh)
    b, c, bias = torch.randn(B, T, G, N), torch.randn(B, T, G, N), torch.randn(nh)
    want, last = pt.mamba_chunk_scan_combined(x, dt, A, b, c, 4, D, dt_bias=bias, dt_softplus=True,
                                              return_final_states=True)
    for state in (torch.zeros(B, nh, P, N), torch.zeros(B, nh, N, P).transpose(-1, -2)):
        for t in range(T):
            o = pt.selective_state_update(
                state, x[:, t], dt[:, t, :, None].expand(-1, -1, P), A[:, None, None].expand(-1, P, N), b[:, t],
                c[:, t], D[:, None].expand(-1, P), dt_bias=bias[:, None].expand(-1, P), dt_softplus=True)
            expect(distance(o, want[:, t]) <= 2e-6, f"step {t} of Mamba-2")
        expect(distance(state, last) <= 2e-6, "state after the steps of Mamba-2")


def refusals():
    q = torch.randn(1, 4, 2, 8, requires_grad=True)
    v, beta, g = torch.randn(1, 4, 2, 8), torch.rand(1, 4, 2), -torch.rand(1, 4, 2)
    for kind, words, f in (
        (ValueError, "argument g is f32[1,4,1]", lambda: pt.chunk_gated_delta_rule(q, q, v, g[..., :1], beta)),
        (ValueError, "on meta", lambda: pt.chunk_gated_delta_rule(q.to("meta"), q, v, g, beta)),
        (ValueError, "offsets must run", lambda: pt.chunk_gated_delta_rule(q, q, v, g, beta, cu_seqlens=torch.tensor([0, 5]))),
        (ValueError, "cp_context", lambda: pt.chunk_gated_delta_rule(q, q, v, g, beta, cp_context=1)),
        (ValueError, "allow_neg", lambda: pt.chunk_gdn2(q, q, v, q, q, v, allow_neg_eigval=True)),
        (ValueError, "lower_bound", lambda: pt.chunk_gated_delta_rule(q, q, v, g, beta, lower_bound=-5.0)),
        (ValueError, "gv", lambda: pt.fused_recurrent_gated_delta_rule(q, q, v, g, gv=v, beta=beta)),
    ):
        try:
            f()
            expect(False, f"accepted: {words}")
        except kind as problem:
            expect(words in str(problem), f"{problem} says nothing of {words}")
    o, _ = pt.chunk_gated_delta_rule(q, q, v, g, beta)
    (first,) = torch.autograd.grad(o.square().sum(), q, create_graph=True)
    try:
        torch.autograd.grad(first.sum(), q)
        expect(False, "a second derivative")
    except RuntimeError as problem:
        expect("no second derivative" in str(problem), f"{problem}")
    half = [t.bfloat16() for t in (q.detach(), q.detach(), v, g, beta)]
    o, s = pt.chunk_gated_delta_rule(*half, output_final_state=True)
    expect(o.dtype == torch.bfloat16 and s.dtype == torch.float32, "bf16 goes through f32")
    # Only a library by clang beside the GNU runtime of torch brings another one, LLVM's.
    one, two = pt.one_runtime(), of_torch == {"gomp"} and "omp" in runtimes()
    expect(one != two, f"one_runtime() is {one}; loaded are {sorted(runtimes())}, of torch {sorted(of_torch)}")


def compiled():
    """torch.compile breaks its graph at a kernel, and gives the same numbers."""
    q, v = torch.randn(1, 20, 2, 8), torch.randn(1, 20, 2, 8)
    beta, g = torch.rand(1, 20, 2), -torch.rand(1, 20, 2)

    def f(x):
        return pt.chunk_gated_delta_rule(x * 2, x + 1, v, g, beta, use_qk_l2norm_in_kernel=True)[0].square()

    expect(torch.allclose(torch.compile(f, backend="eager")(q), f(q)), "compiled is other")
    torch._dynamo.reset()
    try:
        torch.compile(f, backend="eager", fullgraph=True)(q)
        expect(False, "fullgraph was accepted")
    except Exception as problem:
        expect("palimpsest_torch" in str(problem), f"fullgraph: {problem}")


# ---- Models of transformers ----


def tiny(name):
    import transformers as hf

    common = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 4}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "linear_num_key_heads": 2,
             "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 12,
             "intermediate_size": 48}
    torch.manual_seed(1)
    if name == "qwen3_5":
        return hf.Qwen3_5ForCausalLM(hf.Qwen3_5TextConfig(**common, **heads))
    if name == "qwen3_next":
        more = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
                "shared_expert_intermediate_size": 16}
        return hf.Qwen3NextForCausalLM(hf.Qwen3NextConfig(**common, **heads, **more))
    return hf.Mamba2ForCausalLM(hf.Mamba2Config(**common, num_heads=8, head_dim=8, state_size=16, n_groups=2, chunk_size=16))


def run_model(model, ids):
    model.zero_grad()
    model.train()
    logits = model(ids).logits
    F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    model.eval()
    with torch.no_grad():
        tokens = model.generate(ids[:1, :7], attention_mask=torch.ones_like(ids[:1, :7]), max_new_tokens=12,
                                min_new_tokens=12, do_sample=False, pad_token_id=0)
    return logits.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}, tokens


def relative(x, ref):
    return ((x.double() - ref.double()).norm() / ref.double().norm().clamp_min(1e-30)).item()


def in_f64(model, ids):
    """The gradients in f64, with the kernels, which hold to 1e-10 there."""
    wide = copy.deepcopy(model).double()
    wide.config._experts_implementation = "eager"
    pt.use()
    gradients = run_model(wide, ids)[1]
    pt.restore()
    return gradients


def imported_later():
    """A module of transformers that is imported after use() is changed too, and changed back. What was taken from it in
    between hands on its calls."""
    expect("transformers.models.bamba.modeling_bamba" not in sys.modules, "the module is there already")
    pt.use()
    from transformers.models.bamba import modeling_bamba as module

    taken = module.mamba2_chunk_scan
    expect(hasattr(taken, "palimpsest_replaces"), "a module that came later keeps its functions")
    torch.manual_seed(6)
    x = [torch.randn(s) for s in ((1, 9, 2, 4), (1, 9, 2), (2,), (1, 9, 1, 3), (1, 9, 1, 3))]
    x[1], x[2] = x[1].exp(), -x[2].exp()
    kernels = taken(*x, chunk_size=4)
    pt.restore()
    expect(not hasattr(module.mamba2_chunk_scan, "palimpsest_replaces"), "restore() forgets modules that came later")
    theirs = module.mamba2_chunk_scan(*x, chunk_size=4)
    expect(torch.equal(taken(*x, chunk_size=4), theirs), "a function that was taken in use still calls the kernels")
    expect(not torch.equal(kernels, theirs) and torch.allclose(kernels, theirs, atol=1e-4), "the function was not replaced")


def models():
    for name in ("qwen3_5", "qwen3_next", "mamba2"):
        model = tiny(name)
        ids = torch.randint(64, (2, 41), generator=torch.Generator().manual_seed(2))
        before = run_model(model, ids)
        replaced = pt.use()
        after = run_model(model, ids)
        made = tiny(name)
        pt.restore()
        again = run_model(model, ids)
        expect(torch.equal(run_model(made, ids)[0], before[0]), f"{name}: a model that was made in use keeps the kernels")
        expect(distance(after[0], before[0]) <= 1e-5, f"{name}: logits {distance(after[0], before[0]):.2g}")
        expect(set(after[1]) == set(before[1]) and len(before[1]) > 10, f"{name}: other gradients")
        worst = max(before[1], key=lambda n: distance(after[1][n], before[1][n]))
        expect(distance(after[1][worst], before[1][worst]) <= 1e-5, f"{name}: gradient of {worst}")
        # Of gradients that are nearly zero the fallback has few digits.
        far = {n for n, g in before[1].items() if relative(after[1][n], g) > 1e-5}
        truth = in_f64(model, ids) if far else {}
        for n in far:  # where the fallback itself is further from f64 than we are, it is no measure
            wrong = relative(before[1][n], truth[n]), relative(after[1][n], truth[n])
            expect(wrong[1] <= 1e-5 and wrong[1] < wrong[0], f"{name}: gradient of {n}: fallback and kernel are {wrong}")
        through_decay = {n for n in far if any(w in n for w in ("A_log", "dt_bias", "in_proj_a.", "in_proj_ba."))}
        expect(far == through_decay, f"{name}: gradients far from the fallback: {far - through_decay}")
        expect(torch.equal(after[2], before[2]), f"{name}: generates other tokens")
        expect(not torch.equal(after[0], before[0]), f"{name}: nothing was replaced: {replaced}")
        expect(torch.equal(again[0], before[0]), f"{name}: restore() does not restore")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--models", action="store_true", help="with transformers, against what it does without other packages")
    parser.add_argument("--fla", action="store_true", help="only what flash-linear-attention needs")
    args = parser.parse_args()
    torch.set_num_threads(2)
    if args.fla:
        torch_fla.run(expect, distance)
        print(f"flash-linear-attention, {len(failures)} failures")
        return 1 if failures else 0
    if args.models:
        sys.modules["fla"] = None  # transformers would call it, and it does not run on a CPU
    for i in range(args.cases):
        case(i)
    others()
    steps()
    refusals()
    torch_more.run(args.cases // 4, expect, cancelled)  # and as many of Mamba-3, and of attention
    expect(len(cancelled) <= args.cases // 20, f"many gradients are held to the reference in f32: {cancelled}")
    if args.models:
        compiled()
        models()
        imported_later()
    print(f"{args.cases} cases{' and 3 models' if args.models else ''}, {len(failures)} failures")
    return 1 if failures else 0


sys.exit(main())
