"""Mamba-2 and the short convolution, with the names and arguments of mamba_ssm and causal_conv1d, on the CPU."""

import torch
import torch.nn.functional as F

from .function import call
from .library import MODES
from .rules import _compute_dtype, _to

INFINITY = float("inf")


def _offsets(seq_idx):
    """Where sequences begin in rows of a batch that are put one after another: seq_idx [B,T] changes there."""
    first = torch.ones_like(seq_idx, dtype=torch.bool)
    first[:, 1:] = seq_idx[:, 1:] != seq_idx[:, :-1]
    starts = first.reshape(-1).nonzero().reshape(-1)
    return torch.cat([starts, starts.new_tensor([seq_idx.numel()])])


def _step(dt, dt_bias, dt_softplus, dt_limit):
    if dt_bias is not None:
        dt = dt + dt_bias.to(dt.dtype)
    if dt_softplus:
        dt = F.softplus(dt)
    low, high = dt_limit
    if high < INFINITY or low > 0 or not dt_softplus:
        dt = dt.clamp(low, high)
    return dt


def mamba_chunk_scan_combined(x, dt, A, B, C, chunk_size=None, D=None, z=None, dt_bias=None, initial_states=None,
                              seq_idx=None, cu_seqlens=None, dt_softplus=False, dt_limit=(0.0, INFINITY),
                              return_final_states=False, return_varlen_states=False, state_dtype=None, **kwargs):
    """Mamba-2: S <- exp(A dt) S + B (dt x)^T, o = S^T C + D x, then o silu(z).

    x [B,T,nh,P]; dt [B,T,nh]; A [nh]; B, C [B,T,G,N]; D [nh] or [nh,P]; z as x; initial_states [B,nh,P,N], or one for
    each sequence where seq_idx [B,T] or cu_seqlens [n+1] pack several. Returns o, and with return_final_states also
    the states [n,nh,P,N]. chunk_size changes nothing.
    """
    if return_varlen_states:
        raise ValueError("mamba_chunk_scan_combined: return_varlen_states is not there; give cu_seqlens alone")
    dtype, back = _compute_dtype(x, dt), x.dtype
    rows = x.shape[:2]
    dt = _step(dt, dt_bias, dt_softplus, dt_limit)
    per_channel = D if D is not None and D.dim() == 2 else None
    state = None if initial_states is None else initial_states.transpose(-1, -2)
    offsets = cu_seqlens
    if offsets is None and seq_idx is not None:
        offsets = _offsets(seq_idx)
        x, dt, B, C = (t.reshape(1, -1, *t.shape[2:]) for t in (x, dt, B, C))
        if z is not None:
            z = z.reshape(1, -1, *z.shape[2:])
    if offsets is not None:
        offsets = offsets.to(torch.int64).contiguous()
    inputs = _to(dtype, x, dt, A, B, C, None if per_channel is not None else D, state)
    out = call("mamba2", [*inputs, offsets], 2 if return_final_states else 1, mode=MODES["auto"])
    o = out[0]
    if per_channel is not None:
        o = o + per_channel.to(dtype) * x.to(dtype)
    if z is not None:
        o = o * F.silu(z.to(dtype))
    o = o.reshape(*rows, *o.shape[2:]).to(back)
    return (o, out[1].transpose(-1, -2)) if return_final_states else o


def selective_state_update(state, x, dt, A, B, C, D=None, z=None, dt_bias=None, dt_softplus=False, **kwargs):
    """One token of Mamba-2: state [B,nh,P,N] is replaced in place. x, dt, z [B,nh,P]; A [nh,P,N]; B, C [B,G,N]; D,
    dt_bias [nh,P]. dt, A, D and dt_bias are the same for all channels of a head, as Mamba-2 has them."""
    dtype, back = _compute_dtype(state), x.dtype
    bias = None if dt_bias is None else dt_bias[:, 0]
    step = _step(dt[:, :, 0], bias, dt_softplus, (0.0, INFINITY) if dt_softplus else (-INFINITY, INFINITY))
    S = state.transpose(-1, -2)
    own = S.contiguous().to(dtype)  # the same memory if the state lies so already
    operands = _to(dtype, x.unsqueeze(1), step.unsqueeze(1), A[:, 0, 0], B.unsqueeze(1), C.unsqueeze(1),
                   None if D is None else D[:, 0])
    with torch.no_grad():
        o = call("mamba2", [*operands, own, None], 2, into=own, mode=MODES["recurrent"])[0].squeeze(1)
        if own.data_ptr() != S.data_ptr():
            S.copy_(own)
        if z is not None:
            o = o * F.silu(z.to(dtype))
    return o.to(back)


def causal_conv1d_fn(x, weight, bias=None, seq_idx=None, initial_states=None, return_final_states=False,
                     final_states_out=None, activation=None, **kwargs):
    """Causal depthwise convolution. x [B,C,T]; weight [C,W]; bias [C]; activation None, "silu" or "swish"."""
    if activation not in (None, "silu", "swish"):
        raise ValueError(f"causal_conv1d_fn: activation {activation} is none of silu and swish")
    dtype, back = _compute_dtype(x), x.dtype
    rows, offsets = (x.shape[0], x.shape[2]), None
    x = x.transpose(1, 2)  # [B,T,C]
    if seq_idx is not None:
        offsets = _offsets(seq_idx)
        x = x.reshape(1, -1, x.shape[2])
    tail = None if initial_states is None else initial_states.transpose(1, 2)
    inputs = _to(dtype, x, weight.unsqueeze(1), bias, tail)
    inputs = [t if t is None or i in (1, 2) or t.stride(-1) == 1 else t.contiguous() for i, t in enumerate(inputs)]
    out = call("short_conv", [*inputs, offsets], 2 if return_final_states else 1, silu=activation is not None)
    y = out[0].reshape(*rows, -1).transpose(1, 2).to(back)
    if not return_final_states:
        return y
    last = out[1].transpose(1, 2)
    if final_states_out is not None:
        last = final_states_out.copy_(last)
    return y, last


GATES = {"silu": 1, "swish": 1, "sigmoid": 2}


def gated_rms_norm(x, gate, weight, eps=1e-6, groups=1, gate_first=False, activation="silu"):
    """rms_norm(x) weight silu(gate), or, with gate_first, rms_norm(x silu(gate)) weight, in groups of channels.
    activation may be "sigmoid" instead."""
    dtype, back = _compute_dtype(x), x.dtype
    inputs = _to(dtype, x, gate, weight)
    kind = 3 if gate is None else GATES[activation]
    out = call("gated_rms_norm", inputs, 1, eps=float(eps), groups=int(groups), gate_first=bool(gate_first), gate=kind)
    return out[0].to(back)
