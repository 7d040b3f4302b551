"""Mamba-3: the rule with names of its own, and as mamba_ssm's function for one row a token, on the CPU."""

import math

import torch
import torch.nn.functional as F

from .function import call
from .rules import _compute_dtype, _to

PAIRS = {"adjacent": 0, "half": 1}


def mamba3(x, dt, g, lam, om, B, C, B_bias=None, C_bias=None, D=None, mimo_x=None, initial_states=None,
           return_final_states=False, cu_seqlens=None, scale=None, pair="adjacent"):
    """Mamba-3: the write of a token is divided between it and the next one, and angles turn keys and queries.

    x [B,T,nh,P]; dt, g (the log-decay), lam (0..1) [B,T,nh]; om [B,T,J], radians per unit of dt; B, C [B,T,R,G,N];
    biases [nh,R,N], D [nh] and mimo_x [nh,R,P] or None. Returns o [B,T,R,nh,P], and with return_final_states also four
    states, which initial_states takes: S [n,nh,N,P], angles [n,nh,J], keys [n,nh,R,N] and x [n,nh,P] of the last token.
    pair: "adjacent" turns channels (2j, 2j+1), "half" turns (j, j + N/2). All of layers/rules.h's pal_mamba3.
    """
    if pair not in PAIRS:
        raise ValueError(f"mamba3: pair is {pair!r} and should be 'adjacent' or 'half'")
    dtype, back = _compute_dtype(x, dt), x.dtype
    offsets = None if cu_seqlens is None else cu_seqlens.to(torch.int64).contiguous()
    states = [None] * 4 if initial_states is None else initial_states
    opts = {"pair": PAIRS[pair]}
    if scale is not None:
        opts["scale"] = float(scale)
    inputs = _to(dtype, x, dt, g, lam, om, B, C, B_bias, C_bias, D, mimo_x, *states)
    out = call("mamba3", [*inputs, offsets], 5, **opts)
    o = out[0].to(back)
    return (o, tuple(out[1:])) if return_final_states else o


def _shared_angles(Q, K, V, ADT, DT, Trap, Q_bias, K_bias, Angles, *more, **options):
    """The kernel has one angle for all heads, as the layer makes it by expand."""
    return Angles.shape[2] == 1 or Angles.stride(2) == 0


def mamba3_siso_combined(Q, K, V, ADT, DT, Trap, Q_bias, K_bias, Angles, D=None, Z=None, Input_States=None, chunk_size=64,
                         return_final_states=False, cu_seqlens=None):
    """Mamba-3 with one row a token, as mamba_ssm calls it.

    Q, K [B,T,G,N]; V, Z [B,T,nh,P]; ADT, DT, Trap (before its sigmoid) [B,nh,T]; biases [nh,N]; Angles [B,T,nh,J] before
    pi tanh, the same for all heads (expanded); D [nh]. Input_States and the final ones are angles [n,nh,J], S [n,nh,P,N],
    keys [n,nh,N] and V [n,nh,P]. chunk_size changes nothing.
    """
    if not _shared_angles(Q, K, V, ADT, DT, Trap, Q_bias, K_bias, Angles):
        raise ValueError("mamba3_siso_combined: Angles should be the same for all heads, by expand")
    dtype = _compute_dtype(V, DT)
    states = None
    if Input_States is not None:
        angles, S, k, v = Input_States
        states = (S.transpose(-1, -2), angles, k.unsqueeze(2), v)
    om = math.pi * torch.tanh(Angles[:, :, 0].to(dtype))
    o, last = mamba3(V, DT.transpose(1, 2), ADT.transpose(1, 2), torch.sigmoid(Trap.to(dtype)).transpose(1, 2), om,
                     K.unsqueeze(2), Q.unsqueeze(2), K_bias.unsqueeze(1), Q_bias.unsqueeze(1), D, None, states, True, cu_seqlens)
    o = o.squeeze(2)
    if Z is not None:
        o = (o.to(dtype) * F.silu(Z.to(dtype))).to(V.dtype)
    return (o, last[1], last[0].transpose(-1, -2), last[2].squeeze(2), last[3]) if return_final_states else o
