"""Causal softmax attention, with the names and arguments of flash_attn, on the CPU."""

import torch

from .function import call
from .rules import _compute_dtype, _to


def flash_attn_func(q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1), **kwargs):
    """softmax(scale q k^T) v, in which a query sees no key behind it.

    q [B,T,H,D]; k, v [B,S,HKV,D], H a multiple of HKV, S >= T: the queries are the last T of S positions. causal has to
    be True. window_size (n, 0) lets a query see itself and n keys before it; (-1, -1) all of them.
    """
    return _attention("flash_attn_func", q, k, v, dropout_p, softmax_scale, causal, window_size, None, kwargs)


def flash_attn_varlen_func(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q=None, max_seqlen_k=None, dropout_p=0.0,
                           softmax_scale=None, causal=False, window_size=(-1, -1), **kwargs):
    """The same of packed sequences: q [tokens,H,D], k, v [tokens,HKV,D], whose sequences begin at cu_seqlens_q."""
    if not torch.equal(cu_seqlens_q, cu_seqlens_k):
        raise ValueError("flash_attn_varlen_func: cu_seqlens_q and cu_seqlens_k should be equal on the CPU")
    o = _attention("flash_attn_varlen_func", q.unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0), dropout_p, softmax_scale, causal,
                   window_size, cu_seqlens_q, kwargs)
    return o.squeeze(0)


def _attention(name, q, k, v, dropout_p, scale, causal, window_size, offsets, others):
    left, right = window_size
    if not causal or right > 0:
        raise ValueError(f"{name}: attention to later tokens is not there; causal should be True")
    if dropout_p:
        raise ValueError(f"{name}: dropout_p is {dropout_p}, and dropout is not there on the CPU")
    for key, value in others.items():
        if value is not None and value is not False and value != 0:
            raise ValueError(f"{name}: {key} is not there on the CPU")
    dtype, back = _compute_dtype(q, k, v), q.dtype
    opts = {} if scale is None else {"scale": float(scale)}
    if left >= 0:
        opts["window"] = left + 1
    if offsets is not None:
        offsets = offsets.to(torch.int64).contiguous()
    return call("attention", [*_to(dtype, q, k, v), offsets], 1, **opts)[0].to(back)
