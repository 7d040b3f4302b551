"""gdn2.py - the language model of bench/step in PyTorch: blocks of Gated DeltaNet-2 and SwiGLU, written as fast as
eager PyTorch allows.

The rule goes by chunks of C tokens, as matrix products. With G the sum of log-decays since the start of a chunk,
a chunk from the state S0 on obeys

    (I + A) U = W*V - (exp(G)*b*k) S0,      A_ts = <b_t*k_t*exp(G_t - G_s), k_s>, s < t
    o_t = S0^T (exp(G_t)*q_t) + sum over s <= t of <q_t*exp(G_t - G_s), k_s> u_s
    S_C = diag(exp G_C) S0 + sum over s of (exp(G_C - G_s)*k_s) u_s^T

exp(G_t - G_s) is split into two factors at the middle of the chunk. That is the fastest way, and it overflows where
half a chunk decays by more than exp(88). The kernels of this library do not; the comparison is in PyTorch's favour.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


def rule(q, k, v, g, b, w, chunk):
    """q, k, g, b [B,T,H,K]; v, w [B,T,H,V] -> o [B,T,H,V]. T is a multiple of the chunk."""
    B, T, H, K = q.shape
    V, C, N = v.shape[-1], chunk, T // chunk
    q, k, v, g, b, w = (x.view(B, N, C, H, -1).permute(1, 0, 3, 2, 4).contiguous() for x in (q, k, v, g, b, w))
    G = g.cumsum(-2)
    end, middle = G[..., -1:, :], G[..., C // 2 - 1:C // 2, :]
    grown, shrunk, start = (G - middle).exp(), (middle - G).exp(), middle.exp()
    reads, keys, erases = q * grown * K**-0.5, k * shrunk, b * k * grown
    across = keys.transpose(-1, -2)
    A, P = (erases @ across).tril(-1), (reads @ across).tril()
    # A is taken with ones on its diagonal.
    solved = torch.linalg.solve_triangular(A, torch.cat([w * v, erases * start], -1), upper=False, unitriangular=True)
    written, erased = solved.split([V, K], -1)
    reads, ends, decay = reads * start, (keys * (end - middle).exp()).transpose(-1, -2), end.exp().transpose(-1, -2)
    S, out = q.new_zeros(B, H, K, V), []
    for n in range(N):
        u = written[n] - erased[n] @ S
        out.append(reads[n] @ S + P[n] @ u)
        S = decay[n] * S + ends[n] @ u
    return torch.stack(out).permute(1, 0, 3, 2, 4).reshape(B, T, H, V)


def by_token(q, k, v, g, b, w):
    """The same, token by token: what the rule is."""
    S, out = q.new_zeros(q.shape[0], q.shape[2], q.shape[3], v.shape[3]), []
    for t in range(q.shape[1]):
        S = g[:, t].exp()[..., None] * S
        u = w[:, t] * v[:, t] - torch.einsum("bhk,bhkv->bhv", b[:, t] * k[:, t], S)
        S = S + k[:, t][..., None] * u[:, :, None]
        out.append(torch.einsum("bhk,bhkv->bhv", q[:, t] * q.shape[3]**-0.5, S))
    return torch.stack(out, 1)


def check():
    """The largest error of the rule and of its gradients, as a share of the largest number; f64."""
    torch.manual_seed(1)
    shape = (2, 48, 3, 8)
    x = [torch.randn(shape, dtype=torch.float64) for _ in range(6)]
    x[0], x[1] = F.normalize(x[0], dim=-1), F.normalize(x[1], dim=-1)
    x[3], x[4], x[5] = -x[3].abs(), x[4].sigmoid(), x[5].sigmoid()
    results = []
    for run in (lambda *y: rule(*y, 16), by_token):
        y = [t.clone().requires_grad_() for t in x]
        o = run(*y)
        (o * torch.arange(8, dtype=torch.float64)).sum().backward()
        results.append([o.detach()] + [t.grad for t in y])
    return max(((p - q).abs().max() / q.abs().max()).item() for p, q in zip(*results))


class Conv(nn.Module):
    """The short convolution: four taps of each channel, then SiLU."""

    def __init__(self, n):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n, 4) / 2)

    def forward(self, x):
        with torch.autocast("cpu", enabled=False):
            x = F.conv1d(F.pad(x.float().transpose(1, 2), (3, 0)), self.weight[:, None], groups=len(self.weight))
            return F.silu(x).transpose(1, 2)


class Mixer(nn.Module):
    def __init__(self, d, H, K):
        super().__init__()
        self.H, self.K, n = H, K, H * K
        self.q, self.k, self.v, self.b, self.w = (nn.Linear(d, n, bias=False) for _ in range(5))
        self.f = nn.Sequential(nn.Linear(d, K, bias=False), nn.Linear(K, n, bias=False))
        self.g = nn.Sequential(nn.Linear(d, K, bias=False), nn.Linear(K, n))
        self.conv = nn.ModuleList(Conv(n) for _ in range(3))
        self.A_log = nn.Parameter(torch.empty(H).uniform_(1, 16).log())
        dt = torch.exp(torch.empty(n).uniform_(math.log(1e-3), math.log(0.1)))
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))
        self.norm = nn.Parameter(torch.ones(K))
        self.o = nn.Linear(n, d, bias=False)

    def forward(self, x, chunk):
        B, T, _ = x.shape
        heads = (B, T, self.H, self.K)
        q, k, v = (conv(p(x)).view(heads) for conv, p in zip(self.conv, (self.q, self.k, self.v)))
        b, w = torch.sigmoid(self.b(x)).view(heads), torch.sigmoid(self.w(x)).view(heads)
        decay = F.softplus(self.f(x).float() + self.dt_bias).view(heads) * -self.A_log.exp()[:, None]
        gate = self.g(x).view(heads)
        with torch.autocast("cpu", enabled=False):  # the rule is in f32, as in this library
            o = rule(F.normalize(q, dim=-1), F.normalize(k, dim=-1), v, decay, b.float(), w.float(), chunk)
            o = F.rms_norm(o, (self.K,), self.norm, 1e-5) * F.silu(gate.float())
        return self.o(o.reshape(B, T, -1))


class Block(nn.Module):
    def __init__(self, d, H, K):
        super().__init__()
        m = (d * 8 // 3 + 31) // 32 * 32
        self.norms = nn.ModuleList(nn.RMSNorm(d, 1e-5) for _ in range(2))
        self.mixer = Mixer(d, H, K)
        self.gate, self.up, self.down = (nn.Linear(*s, bias=False) for s in ((d, m), (d, m), (m, d)))

    def forward(self, x, chunk):
        x = x + self.mixer(self.norms[0](x), chunk)
        y = self.norms[1](x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Model(nn.Module):
    def __init__(self, d, layers, H, K):
        super().__init__()
        self.embed = nn.Embedding(256, d)
        self.blocks = nn.ModuleList(Block(d, H, K) for _ in range(layers))
        self.norm = nn.RMSNorm(d, 1e-5)
        self.head = nn.Linear(d, 256, bias=False)

    def forward(self, ids, chunk):
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x, chunk)
        return self.head(self.norm(x))


class Training:
    """Steps as bench/step makes them: loss, backward, clipping, AdamW, zeroed gradients."""

    def __init__(self, d, layers, H, K, batch, length):
        torch.manual_seed(1)
        self.model = Model(d, layers, H, K)
        matrices = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim < 2]
        self.adamw = torch.optim.AdamW(
            [{"params": matrices}, {"params": others, "weight_decay": 0}],
            lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
        self.text = torch.randint(256, (batch, length + 1))

    def size(self):
        return sum(p.numel() for p in self.model.parameters())

    def step(self, chunk, bf16):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = self.model(self.text[:, :-1], chunk)
            loss = F.cross_entropy(logits.float().flatten(0, 1), self.text[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1)
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
        return loss.item()
