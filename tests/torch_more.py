"""torch_more.py - Mamba-3 and attention of examples/torch against references in torch; torch_kernels.py calls it."""

import math

import palimpsest_torch as pt
import torch
import torch.nn.functional as F

NAMES = ("S", "angles", "keys", "x")  # the parts of a state of Mamba-3


def pick(generator, *choices):
    return choices[int(torch.randint(len(choices), (1,), generator=generator))]


def distance(x, ref):
    """||x - ref|| / max(||ref||, 0.01 sqrt(n)); infinite where one is not finite."""
    if not (torch.isfinite(x).all() and torch.isfinite(ref).all()):
        return float("inf")
    x, ref = x.double(), ref.double()
    return ((x - ref).norm() / max(ref.norm().item(), 0.01 * max(ref.numel(), 1) ** 0.5)).item()


# ---- References ----


def turn(x, phi, pair):
    """Rot(phi) x: x [..,R,N], phi [..,J]."""
    J, N = phi.shape[-1], x.shape[-1]
    a = torch.arange(J) * (2 if pair == "adjacent" else 1)
    b = a + (1 if pair == "adjacent" else N // 2)
    c, s = phi.cos().unsqueeze(-2), phi.sin().unsqueeze(-2)
    y = x.clone()
    y[..., a] = x[..., a] * c - x[..., b] * s
    y[..., b] = x[..., a] * s + x[..., b] * c
    return y


def one_mamba3(x, dt, g, lam, om, B, C, B_bias, C_bias, D, mimo_x, state, pair):
    """One sequence, token by token (arXiv 2603.15569). x [T,H,P], B, C [T,R,H,N]; o [T,R,H,P]."""
    S, phi, k0, x0 = state
    o = []
    for t in range(x.shape[0]):
        phi = phi + dt[t].unsqueeze(-1) * om[t]
        k = turn(B[t].transpose(0, 1) + B_bias, phi, pair)
        q = turn(C[t].transpose(0, 1) + C_bias, phi, pair)
        before = torch.einsum("hrn,hrp->hnp", k0, mimo_x * x0.unsqueeze(1))
        v = mimo_x * x[t].unsqueeze(1)
        write = torch.einsum("hrn,hrp->hnp", k, v)
        late = ((1 - lam[t]) * dt[t])[:, None, None]
        S = g[t].exp()[:, None, None] * (S + late * before) + (lam[t] * dt[t])[:, None, None] * write
        o.append((torch.einsum("hnp,hrn->hrp", S, q) + D[:, None, None] * v).transpose(0, 1))
        k0, x0 = k, x[t]
    return (torch.stack(o) if o else x.new_zeros(0, B.shape[1], *x.shape[1:])), (S, phi, k0, x0)


def mamba3(x, dt, g, lam, om, B, C, B_bias, C_bias, D, mimo_x, states, cu_seqlens, pair):
    heads = x.shape[2]
    B, C = (t.repeat_interleave(heads // t.shape[3], 3) for t in (B, C))
    tokens, fixed = (x, dt, g, lam, om, B, C), (B_bias, C_bias, D, mimo_x)
    cuts = [0, x.shape[1]] if cu_seqlens is None else cu_seqlens.tolist()
    parts = [(r, a, b) for r in range(x.shape[0]) for a, b in zip(cuts, cuts[1:])]
    out = [one_mamba3(*(t[r, a:b] for t in tokens), *fixed, [s[n] for s in states], pair) for n, (r, a, b) in enumerate(parts)]
    o = torch.cat([y for y, _ in out]).reshape(x.shape[0], x.shape[1], B.shape[2], heads, -1)
    return (o, *(torch.stack([s[i] for _, s in out]) for i in range(4)))


def attention(q, k, v, scale, window, offsets):
    """o [B,T,H,D], all scores at once."""
    T, S, H = q.shape[1], k.shape[1], q.shape[2]
    k, v = (t.repeat_interleave(H // t.shape[2], 2) for t in (k, v))
    i, j = torch.arange(T).unsqueeze(1) + S - T, torch.arange(S).unsqueeze(0)
    seen = (j <= i) & (j > i - (window or S + 1))
    if offsets is not None:
        number = torch.bucketize(torch.arange(S), offsets, right=True)
        seen = seen & (number[S - T :].unsqueeze(1) == number.unsqueeze(0))
    scores = torch.einsum("bthd,bshd->bhts", q, k) * (scale or q.shape[-1] ** -0.5)
    return torch.einsum("bhts,bshd->bthd", scores.masked_fill(~seen, -math.inf).softmax(-1), v)


# ---- Comparing ----


def compare(expect, cancelled, text, ours, theirs, tensors, dtype, G, circles=()):
    """Results of ours and theirs(tensors by name), and gradients of a random sum of some results."""
    wanted = [n for n in tensors if pick(G, True, True, False)] or [next(iter(tensors))]
    tolerance = 2e-6 if dtype == torch.float32 else 1e-10

    def run(f, kind, leaves):
        leaf = {n: t.detach().clone().to(kind).requires_grad_(n in leaves) for n, t in tensors.items()}
        out = f(leaf)
        return leaf, out if isinstance(out, tuple) else (out,)

    ref, want = run(theirs, torch.float64, wanted)
    leaf, got = run(ours, dtype, wanted)
    # An angle and the same one a turn later are the same.
    flat = [torch.stack([w.cos(), w.sin()]) if i in circles else w for i, w in enumerate(want)]
    mine = [torch.stack([w.cos(), w.sin()]) if i in circles else w for i, w in enumerate(got)]
    for i, (a, b) in enumerate(zip(mine, flat)):
        expect(a.shape == b.shape and distance(a, b) <= tolerance, f"{text}: result {i} {distance(a, b):.2g}")
    c = [torch.randn(w.shape, generator=G, dtype=torch.float64) for w in flat]
    used = [i for i in range(len(c)) if i == 0 or pick(G, True, False)]

    def gradients(results, leaves, names, kind):
        total = sum((results[i] * c[i].to(kind)).sum() for i in used)
        grads = torch.autograd.grad(total, [leaves[n] for n in names], allow_unused=True)
        return [torch.zeros_like(leaves[n]) if d is None else d for n, d in zip(names, grads)]

    refs = gradients(flat, ref, wanted, torch.float64)
    for n, a, b in zip(wanted, gradients(mine, leaf, wanted, dtype), refs):
        error = distance(a, b)
        if b.norm() < 1e-12 and dtype == torch.float32:  # one key has all the weight: 0 is the difference of terms of about 5
            expect(a.abs().max() <= 5 * tolerance, f"{text}: gradient of {n} is {a.abs().max():.2g} and should be 0")
            continue
        if error > tolerance and dtype == torch.float32:  # as in torch_kernels.py: a small difference of large numbers
            narrow, out = run(theirs, torch.float32, [n])
            out = [torch.stack([w.cos(), w.sin()]) if i in circles else w for i, w in enumerate(out)]
            own = distance(gradients(out, narrow, [n], torch.float32)[0], b)
            expect(error <= 4 * own, f"{text}: gradient of {n} {error:.2g}, the reference in f32 {own:.2g}")
            cancelled.append(text)
            continue
        expect(error <= tolerance, f"{text}: gradient of {n} {error:.2g}")


def offsets_of(G, B, T):
    if pick(G, True, False):
        return B, None
    cuts = torch.randint(0, T + 1, (pick(G, 1, 3),), generator=G).sort().values.tolist()
    return 1, torch.tensor([0, *cuts, T])


def mamba3_case(i, expect, cancelled):
    G = torch.Generator().manual_seed(1000 + i)
    T, G_, R, N, P = pick(G, 1, 2, 9, 33), pick(G, 1, 2), pick(G, 1, 1, 2, 4), pick(G, 8, 16), pick(G, 4, 8)
    B, offsets = offsets_of(G, pick(G, 1, 2), T)
    H, J, pair = G_ * pick(G, 1, 2), pick(G, N // 4, N // 2), pick(G, "adjacent", "half")
    n = B if offsets is None else len(offsets) - 1

    def normal(*shape):
        return torch.randn(shape, generator=G, dtype=torch.float64).float().double()

    def uniform(*shape):
        return torch.rand(shape, generator=G, dtype=torch.float64).float().double()

    x = {"x": normal(B, T, H, P), "dt": uniform(B, T, H), "g": -uniform(B, T, H) * pick(G, 0, 1, 1, 300), "lam": uniform(B, T, H),
         "om": 3 * normal(B, T, J), "B": normal(B, T, R, G_, N) * N**-0.5, "C": normal(B, T, R, G_, N),
         "B_bias": normal(H, R, N) * N**-0.5, "C_bias": normal(H, R, N), "D": normal(H), "mimo_x": normal(H, R, P)}
    states = {"S": normal(n, H, N, P), "angles": uniform(n, H, J) * 6, "keys": normal(n, H, R, N) * N**-0.5, "x0": normal(n, H, P)}
    dtype = pick(G, torch.float32, torch.float64)
    text = f"Mamba-3, case {i}: {dtype} {list(x['B'].shape)}, {H} heads, pair {pair}, offsets {offsets}"

    def theirs(t):
        t = dict(t)
        return mamba3(**{k: t.pop(k) for k in x}, states=[t[k] for k in states], cu_seqlens=offsets, pair=pair)

    def ours(t):
        t = dict(t)
        o, last = pt.mamba3(**{k: t.pop(k) for k in x}, initial_states=[t[k] for k in states], return_final_states=True,
                            cu_seqlens=offsets, pair=pair)
        return (o, *last)

    compare(expect, cancelled, text, ours, theirs, x | states, dtype, G, circles=(2,))


def attention_case(i, expect, cancelled):
    G = torch.Generator().manual_seed(2000 + i)
    T, HKV, D = pick(G, 1, 7, 40), pick(G, 1, 2), pick(G, 4, 16)
    B, offsets = offsets_of(G, pick(G, 1, 2), T)
    S = T if offsets is not None else T + pick(G, 0, 5)
    window, scale = pick(G, None, None, 1, 5), pick(G, None, 0.3)
    x = {"q": torch.randn(B, T, HKV * pick(G, 1, 3), D, generator=G, dtype=torch.float64)}
    x |= {n: torch.randn(B, S, HKV, D, generator=G, dtype=torch.float64) for n in "kv"}
    x = {n: t.float().double() for n, t in x.items()}
    options = {"softmax_scale": scale, "causal": True, "window_size": (-1 if window is None else window - 1, 0)}

    def ours(t):
        if offsets is None:
            return pt.flash_attn_func(t["q"], t["k"], t["v"], **options)
        return pt.flash_attn_varlen_func(t["q"][0], t["k"][0], t["v"][0], offsets.int(), offsets.int(), T, T, **options)[None]

    dtype = pick(G, torch.float32, torch.float64)
    text = f"attention, case {i}: {dtype} {list(x['q'].shape)}, {S} keys, window {window}, offsets {offsets}"
    compare(expect, cancelled, text, ours, lambda t: attention(**t, scale=scale, window=window, offsets=offsets), x, dtype, G)


def siso(expect):
    """mamba_ssm's function: other orders of axes, sigmoid, tanh and gate inside; in one call, and a token at a time."""
    torch.manual_seed(5)
    B, T, G, H, N, P, J = 2, 11, 1, 3, 8, 4, 2
    Q, K, V, Z = (torch.randn(s) for s in ((B, T, G, N), (B, T, G, N), (B, T, H, P), (B, T, H, P)))
    dt, trap, angles = torch.rand(B, H, T), torch.randn(B, H, T), torch.randn(B, T, 1, J).requires_grad_()
    adt, qb, kb, D = -torch.rand(B, H, T), torch.randn(H, N), torch.randn(H, N), torch.randn(H)

    def at(a, b, states=None):
        return pt.mamba3_siso_combined(
            Q=Q[:, a:b], K=K[:, a:b], V=V[:, a:b], ADT=adt[..., a:b], DT=dt[..., a:b], Trap=trap[..., a:b], Q_bias=qb, K_bias=kb,
            Angles=angles[:, a:b].expand(-1, -1, H, -1), D=D, Z=Z[:, a:b], Input_States=states, return_final_states=True)

    whole, pieces, states = at(0, T), [], None
    for t in range(T):
        o, *states = at(t, t + 1, states)
        pieces.append(o)
    nothing = [torch.zeros(B, H, N, P), torch.zeros(B, H, J), torch.zeros(B, H, 1, N), torch.zeros(B, H, P)]
    want = mamba3(*(t.detach().double() for t in (
        V, dt.mT, adt.mT, trap.sigmoid().mT, math.pi * angles[:, :, 0].tanh(), K.unsqueeze(2), Q.unsqueeze(2), kb.unsqueeze(1),
        qb.unsqueeze(1), D, torch.ones(H, 1, P))), [s.double() for s in nothing], None, "adjacent")
    o = want[0].squeeze(2) * F.silu(Z.double())
    for name, y in (("at once", whole[0]), ("token by token", torch.cat(pieces, 1))):
        expect(distance(y, o) <= 2e-6, f"mamba3_siso_combined {name}: {distance(y, o):.2g}")
    for name, a, b in zip(("angles", "S", "keys", "V"), whole[1:], (want[2], want[1].mT, want[3].squeeze(2), want[4])):
        if name == "angles":
            a, b = a.cos(), b.cos()
        expect(a.shape == b.shape and distance(a, b) <= 2e-6, f"mamba3_siso_combined: state {name}")
    (d,) = torch.autograd.grad(whole[0].square().sum(), angles)
    expect(d.abs().sum() > 0 and torch.isfinite(d).all(), "mamba3_siso_combined: no gradient of the angles")


def refusals(expect):
    q = torch.randn(1, 4, 2, 8, requires_grad=True)
    x = torch.rand(1, 4, 2, 8), torch.rand(1, 4, 2), torch.rand(1, 4, 1, 2, 8)
    for words, f in (
        ("causal", lambda: pt.flash_attn_func(q, q, q)),
        ("dropout_p", lambda: pt.flash_attn_func(q, q, q, 0.1, causal=True)),
        ("softcap", lambda: pt.flash_attn_func(q, q, q, causal=True, softcap=20.0)),
        ("equal", lambda: pt.flash_attn_varlen_func(q[0], q[0], q[0], torch.tensor([0, 4]), torch.tensor([0, 2, 4]), causal=True)),
        ("pair", lambda: pt.mamba3(x[0], x[1], -x[1], x[1], x[0][:, :, 0], x[2], x[2], pair="other")),
        ("argument om", lambda: pt.mamba3(x[0], x[1], -x[1], x[1], x[0][:, :2, 0], x[2], x[2])),
        ("same for all heads", lambda: pt.mamba3_siso_combined(q, q, q, x[1].mT, x[1].mT, x[1].mT, q[0, 0], q[0, 0], x[0][..., :2])),
    ):
        try:
            f()
            expect(False, f"accepted: {words}")
        except ValueError as problem:
            expect(words in str(problem), f"{problem} says nothing of {words}")
    (first,) = torch.autograd.grad(pt.flash_attn_func(q, q, q, causal=True).square().sum(), q, create_graph=True)
    try:
        torch.autograd.grad(first.sum(), q)
        expect(False, "a second derivative of attention")
    except RuntimeError as problem:
        expect("no second derivative" in str(problem), f"{problem}")
    half = pt.flash_attn_func(*(q.detach().bfloat16() for _ in range(3)), causal=True)
    expect(half.dtype == torch.bfloat16, "attention in bf16 goes through f32")


def run(cases, expect, cancelled):
    for i in range(cases):
        mamba3_case(i, expect, cancelled)
        attention_case(i, expect, cancelled)
    siso(expect)
    refusals(expect)
