"""What flash-linear-attention's layers call beside the rules: the short convolution and the gated norm, on the CPU."""

import torch

from .function import call
from .mamba import gated_rms_norm
from .rules import _compute_dtype, _to


def causal_conv1d(x, weight=None, bias=None, residual=None, initial_state=None, output_final_state=False, activation=None,
                  backend="triton", cu_seqlens=None, **kwargs):
    """Causal depthwise convolution of x [B,T,D], or [B,T,H,d], with weight [D,W]; then activation (None, "silu", "swish"),
    then + residual. The state of a sequence is its last W inputs [D,W]. Returns y and the final state, or None."""
    if kwargs.get("cp_context") is not None:
        raise ValueError("causal_conv1d: cp_context is not there on the CPU")
    shape, W = x.shape, weight.shape[1]
    x = x.flatten(2)
    dtype, offsets = _compute_dtype(x), None
    if cu_seqlens is not None:
        offsets = cu_seqlens.to(torch.int64).contiguous()
    tail = None if initial_state is None or W == 1 else initial_state[..., 1:].transpose(1, 2)
    inputs = [t if t is None else t.contiguous() for t in _to(dtype, x, weight.unsqueeze(1), bias, tail)]
    y = call("short_conv", [*inputs, offsets], 1, silu=activation is not None)[0].to(x.dtype).view(shape)
    if residual is not None:
        y = y + residual.view(shape)
    return y, _last_inputs(x, W, initial_state, offsets) if output_final_state else None


def _last_inputs(x, W, state, offsets):
    """[N,D,W]: of each sequence, the state before it and its inputs, of which the last W."""
    rows = x.transpose(1, 2)
    if offsets is not None:
        rows = [rows[0, :, a:b] for a, b in zip(offsets.tolist(), offsets.tolist()[1:])]
    last = []
    for n, row in enumerate(rows):
        before = x.new_zeros(row.shape[0], W) if state is None else state[n].to(x.dtype)
        last.append(torch.cat([before, row], 1)[:, -W:])
    return torch.stack(last)


def causal_conv1d_update(x, cache, residual=None, weight=None, bias=None, activation=None):
    """A token: x [N,D], [N,1,D] or [1,N,D]; cache [N,D,W] is replaced in place. Returns y and the cache."""
    shape = x.shape
    D = weight.shape[0]
    row = x.reshape(-1, 1, D)
    y, last = causal_conv1d(row, weight, bias, None if residual is None else residual.reshape(-1, 1, D), cache, True, activation)
    cache.copy_(last)
    return y.reshape(shape), cache


def _plain_norm(x, g, weight, bias, activation="swish", residual=None, prenorm=False, residual_in_fp32=False, eps=1e-6):
    return bias is None and residual is None and not prenorm and activation in ("swish", "silu", "sigmoid") and weight is not None


def rms_norm_gated(x, g, weight, bias, activation="swish", residual=None, prenorm=False, residual_in_fp32=False, eps=1e-6):
    """rms_norm(x) weight act(g), act silu or sigmoid; there is no bias and no residual."""
    if not _plain_norm(x, g, weight, bias, activation, residual, prenorm):
        raise ValueError("rms_norm_gated: bias, residual, prenorm and other activations are not there on the CPU")
    return gated_rms_norm(x, g, weight, eps, activation=activation)
