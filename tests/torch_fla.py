"""torch_fla.py - flash-linear-attention with the kernels of examples/torch: its functions against its own references, and
its layers, which do not run on a CPU without. torch_kernels.py calls it."""

import importlib

import palimpsest_torch as pt
import torch
import torch.nn.functional as F

RULES = ("gated_delta_rule", "kda", "gdn2")


def functions(expect, distance, ops):
    torch.manual_seed(7)
    q, k, v = (F.normalize(torch.randn(2, 30, 2, 8), dim=-1) for _ in range(3))
    x = {"q": q, "k": k, "v": v}
    S, beta, g = torch.randn(2, 2, 8, 8), torch.rand(2, 30, 2), -torch.rand(2, 30, 2, 8)
    inputs = {"gated_delta_rule": x | {"g": g[..., 0], "beta": beta}, "kda": x | {"g": g, "beta": beta},
              "gdn2": x | {"g": g, "b": torch.rand(2, 30, 2, 8), "w": torch.rand(2, 30, 2, 8)}}
    for name, module in ops.items():
        naive = getattr(importlib.import_module(f"fla.ops.{name}.naive"), f"naive_recurrent_{name}")
        want = naive(**inputs[name], initial_state=S, output_final_state=True)
        raw, A_log = torch.randn_like(inputs[name]["g"]), torch.randn(2)
        dt_bias = torch.randn(raw.shape[2:].numel())
        decay = -A_log.exp().view(2, *[1] * (raw.dim() - 3)) * F.softplus(raw + dt_bias.view(raw.shape[2:]))
        gated = naive(**inputs[name] | {"g": decay}, initial_state=S, output_final_state=True)
        for kind in ("chunk", "fused_recurrent"):
            f = getattr(module, f"{kind}_{name}")
            expect(hasattr(f, "palimpsest_replaces"), f"{kind}_{name} of fla is not replaced")
            got = f(**inputs[name], initial_state=S, output_final_state=True)
            turned = f(**inputs[name], initial_state=S.mT, output_final_state=True, state_v_first=True)
            inside = f(**inputs[name] | {"g": raw}, initial_state=S, output_final_state=True, use_gate_in_kernel=True, A_log=A_log,
                       dt_bias=dt_bias)
            for what, pair, ref in (("", got, want), (", the state turned", (turned[0], turned[1].mT), want),
                                    (", the gate inside", inside, gated)):
                for a, b in zip(pair, ref):
                    expect(distance(a, b) <= 2e-6, f"{kind}_{name} and fla's reference{what}: {distance(a, b):.2g}")


def modules(expect, distance):
    from fla.modules import FusedRMSNormGated, ShortConvolution

    torch.manual_seed(8)
    conv, x = ShortConvolution(6, 4, bias=True, activation="silu"), torch.randn(2, 9, 6)
    want = F.silu(F.conv1d(x.mT.double(), conv.weight.double(), conv.bias.double(), padding=3, groups=6)[..., :9]).mT
    y, state = conv(x, output_final_state=True)
    expect(distance(y, want) <= 2e-6, "the convolution of fla")
    expect(torch.equal(state, x.mT[..., -4:]), "the state of fla's convolution")
    (weight,) = torch.autograd.grad(y.square().sum(), conv.weight)
    (ref,) = torch.autograd.grad(want.square().sum(), conv.weight)
    expect(distance(weight, ref) <= 2e-6, "the gradient of fla's convolution")
    first, state = conv(x[:, :5], output_final_state=True)
    with torch.no_grad():  # the rest a token at a time, which changes the state in place
        rest = [conv(x[:, t : t + 1], cache=state, output_final_state=True)[0] for t in range(5, 9)]
    expect(distance(torch.cat([first, *rest], 1), want) <= 2e-6, "steps of fla's convolution")
    offsets = torch.tensor([0, 2, 9])
    packed, last = conv(x[:1], cu_seqlens=offsets, output_final_state=True)
    pieces = [conv(x[:1, a:b], output_final_state=True) for a, b in ((0, 2), (2, 9))]
    expect(torch.equal(packed, torch.cat([p[0] for p in pieces], 1)), "packed sequences in fla's convolution")
    expect(torch.equal(last, torch.cat([p[1] for p in pieces])), "states of packed sequences in fla's convolution")
    for activation, act in (("swish", F.silu), ("sigmoid", torch.sigmoid)):
        norm, g = FusedRMSNormGated(6, activation=activation, eps=1e-5), torch.randn(2, 9, 6)
        want = F.rms_norm(x.double(), (6,), norm.weight.double(), 1e-5) * act(g.double())
        expect(distance(norm(x, g), want) <= 2e-6, f"the gated norm of fla, {activation}")


def layers(expect, distance):
    """A sequence at once, and in two pieces with a cache, the second a token at a time."""
    from fla.layers import GatedDeltaNet, KimiDeltaAttention
    from fla.models.utils import Cache

    made = [(GatedDeltaNet, {"head_dim": 16, "num_heads": 2}), (KimiDeltaAttention, {"head_dim": 16, "num_heads": 2})]
    try:
        from fla.layers import GatedDeltaNet2

        made.append((GatedDeltaNet2, {"head_dim": 16, "num_heads": 2}))
    except ImportError:
        pass
    for kind, options in made:
        torch.manual_seed(9)
        layer, x = kind(hidden_size=32, layer_idx=0, **options), torch.randn(2, 80, 32)
        y = layer(x)[0]
        y.square().sum().backward()
        without = [n for n, p in layer.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all() or not p.grad.any()]
        expect(not without, f"{kind.__name__} of fla: no gradient of {without}")
        with torch.no_grad():
            layer.eval()
            cache = Cache()
            pieces = [layer(x[:, a:b], past_key_values=cache, use_cache=True)[0] for a, b in [(0, 70), *((t, t + 1) for t in range(70, 80))]]
        error = distance(torch.cat(pieces, 1), y.detach())
        expect(error <= 1e-5, f"{kind.__name__} of fla, at once and in pieces: {error:.2g}")


def run(expect, distance):
    pt.use()
    try:
        ops = {n: importlib.import_module(f"fla.ops.{n}") for n in RULES}
    except Exception as problem:  # it wants Triton and einops
        print(f"note: flash-linear-attention is not tested: {problem}")
    else:
        functions(expect, distance, ops)
        modules(expect, distance)
        layers(expect, distance)
    pt.restore()
