"""The delta rules, with the names and arguments of flash-linear-attention (fla.ops), for tensors on the CPU."""

import torch

from .function import call
from .library import MODES


def _compute_dtype(*tensors):
    return torch.float64 if any(x is not None and x.dtype == torch.float64 for x in tensors) else torch.float32


def _to(dtype, *tensors):
    return [None if x is None else x.to(dtype) for x in tensors]


def _run(kernel, operands, scale, state, final, normalize, cu_seqlens, state_v_first, gate, mode, unsupported):
    for name, value in unsupported.items():
        if value is not None and value is not False:
            raise ValueError(f"{kernel}: {name} is not there on the CPU")
    dtype = _compute_dtype(*operands)
    back = operands[2].dtype
    offsets = None if cu_seqlens is None else cu_seqlens.to(torch.int64).contiguous()
    if state is not None and state_v_first:
        state = state.transpose(-1, -2)
    A_log, dt_bias, lower_bound = gate
    inputs = [*_to(dtype, *operands, state), offsets]
    opts = {"mode": MODES[mode], "normalize": bool(normalize)}
    if scale is not None:
        opts["scale"] = float(scale)
    if A_log is not None:
        inputs += _to(dtype, A_log, dt_bias.contiguous())
        opts["lower_bound"] = lower_bound or 0.0
    out = call(kernel, inputs, 2 if final else 1, **opts)
    last = out[1] if final else None
    if last is not None and state_v_first:
        last = last.transpose(-1, -2)
    return out[0].to(back), last


# Options that change a result; a function that lacks one refuses it, and does not swallow it among others.
_CHANGE = ("A_log", "allow_neg_eigval", "cp_context", "dt_bias", "gk", "gv", "head_first", "lower_bound",
           "return_intermediate_states", "use_beta_sigmoid_in_kernel", "use_gate_in_kernel")


def _others(kernel, state_v_first, kwargs):
    """Looks at the options that a function does not name; returns state_v_first, which had another name before."""
    for name in _CHANGE:
        if kwargs.get(name) is not None and kwargs[name] is not False:
            raise ValueError(f"{kernel}: {name} is not there on the CPU")
    return bool(kwargs.get("transpose_state_layout", state_v_first))


def _gate(use, A_log, dt_bias, lower_bound, g):
    """A_log, dt_bias and lower_bound of a decay that the kernel makes of g."""
    if not use:
        return None, None, None
    if A_log is None:
        A_log = g.new_zeros(g.shape[2])
    if dt_bias is None:
        dt_bias = g.new_zeros(g.shape[2] * (g.shape[3] if g.dim() == 4 else 1))
    return A_log.reshape(-1), dt_bias.reshape(-1), lower_bound


def _beta(beta, sigmoid, negative):
    if not sigmoid:
        return beta
    return beta.sigmoid() * 2 if negative else beta.sigmoid()


def chunk_gated_delta_rule(q, k, v, g=None, beta=None, scale=None, initial_state=None, output_final_state=False,
                           use_qk_l2norm_in_kernel=False, use_beta_sigmoid_in_kernel=False, allow_neg_eigval=False,
                           state_v_first=False, cu_seqlens=None, cu_seqlens_cpu=None, chunk_indices=None,
                           cp_context=None, head_first=False, mode="auto", use_gate_in_kernel=False, A_log=None,
                           dt_bias=None, **kwargs):
    """Gated DeltaNet: S <- exp(g) (I - beta k k^T) S + beta k v^T, o = scale S^T q.

    q, k [B,T,H,K]; v [B,T,HV,V]; g (None: no decay), beta [B,T,HV]. Returns o and the final state [N,HV,K,V] or None.
    """
    state_v_first = _others("chunk_gated_delta_rule", state_v_first, kwargs)
    gate = _gate(use_gate_in_kernel, A_log, dt_bias, None, g)
    return _run("gdn", [q, k, v, g, _beta(beta, use_beta_sigmoid_in_kernel, allow_neg_eigval)], scale, initial_state,
                output_final_state, use_qk_l2norm_in_kernel, cu_seqlens, state_v_first, gate, mode,
                {"head_first": head_first, "cp_context": cp_context})


def fused_recurrent_gated_delta_rule(q, k, v, g=None, gk=None, gv=None, beta=None, scale=None, initial_state=None,
                                     output_final_state=False, use_qk_l2norm_in_kernel=False,
                                     use_gate_in_kernel=False, A_log=None, dt_bias=None,
                                     use_beta_sigmoid_in_kernel=False, allow_neg_eigval=False, state_v_first=False,
                                     cu_seqlens=None, **kwargs):
    """The same token by token; gk [B,T,HV,K] instead of g is a decay for each channel."""
    state_v_first = _others("fused_recurrent_gated_delta_rule", state_v_first, kwargs)
    if g is not None and gk is not None:
        g = g.unsqueeze(-1) + gk
    decay = gk if g is None else g
    gate = _gate(use_gate_in_kernel, A_log, dt_bias, None, decay)
    return _run("gdn" if gk is None else "kda",
                [q, k, v, decay, _beta(beta, use_beta_sigmoid_in_kernel, allow_neg_eigval)], scale, initial_state,
                output_final_state, use_qk_l2norm_in_kernel, cu_seqlens, state_v_first, gate, "recurrent", {"gv": gv})


def chunk_kda(q, k, v, g, beta, scale=None, initial_state=None, output_final_state=False,
              use_qk_l2norm_in_kernel=False, use_gate_in_kernel=False, use_beta_sigmoid_in_kernel=False,
              allow_neg_eigval=False, safe_gate=False, lower_bound=None, disable_recompute=False,
              return_intermediate_states=False, state_v_first=False, cu_seqlens=None, cu_seqlens_cpu=None,
              cp_context=None, use_graph=False, max_num_seqs=None, mode="auto", A_log=None, dt_bias=None, **kwargs):
    """Kimi Delta Attention: S <- (I - beta k k^T) diag(exp g) S + beta k v^T. g [B,T,HV,K], beta [B,T,HV]."""
    state_v_first = _others("chunk_kda", state_v_first, kwargs)
    gate = _gate(use_gate_in_kernel, A_log, dt_bias, lower_bound, g)
    return _run("kda", [q, k, v, g, _beta(beta, use_beta_sigmoid_in_kernel, allow_neg_eigval)], scale, initial_state,
                output_final_state, use_qk_l2norm_in_kernel, cu_seqlens, state_v_first, gate, mode,
                {"return_intermediate_states": return_intermediate_states, "cp_context": cp_context})


def fused_recurrent_kda(q, k, v, g, beta, A_log=None, dt_bias=None, scale=None, initial_state=None,
                        output_final_state=False, use_qk_l2norm_in_kernel=False, use_gate_in_kernel=False,
                        use_beta_sigmoid_in_kernel=False, allow_neg_eigval=False, lower_bound=None,
                        state_v_first=False, cu_seqlens=None, **kwargs):
    """The same token by token."""
    return chunk_kda(q, k, v, g, beta, scale, initial_state, output_final_state, use_qk_l2norm_in_kernel,
                     use_gate_in_kernel, use_beta_sigmoid_in_kernel, allow_neg_eigval, lower_bound=lower_bound,
                     state_v_first=state_v_first, cu_seqlens=cu_seqlens, mode="recurrent", A_log=A_log,
                     dt_bias=dt_bias, **kwargs)


def chunk_gdn2(q, k, v, g, b, w, scale=None, initial_state=None, output_final_state=False,
               use_qk_l2norm_in_kernel=False, use_gate_in_kernel=False, cu_seqlens=None, cu_seqlens_cpu=None,
               safe_gate=False, lower_bound=None, disable_recompute=False, return_intermediate_states=False,
               state_v_first=False, cp_context=None, mode="auto", A_log=None, dt_bias=None, **kwargs):
    """Gated DeltaNet-2: S <- (I - k (b*k)^T) diag(exp g) S + k (w*v)^T. g, b [B,T,H or HV,K]; w [B,T,HV,V]."""
    state_v_first = _others("chunk_gdn2", state_v_first, kwargs)
    gate = _gate(use_gate_in_kernel, A_log, dt_bias, lower_bound, g)
    return _run("gdn2", [q, k, v, g, b, w], scale, initial_state, output_final_state, use_qk_l2norm_in_kernel,
                cu_seqlens, state_v_first, gate, mode,
                {"return_intermediate_states": return_intermediate_states, "cp_context": cp_context})


def fused_recurrent_gdn2(q, k, v, g, b, w, A_log=None, dt_bias=None, scale=None, initial_state=None,
                         output_final_state=False, use_qk_l2norm_in_kernel=False, use_gate_in_kernel=False,
                         lower_bound=None, state_v_first=False, cu_seqlens=None, **kwargs):
    """The same token by token."""
    return chunk_gdn2(q, k, v, g, b, w, scale, initial_state, output_final_state, use_qk_l2norm_in_kernel,
                      use_gate_in_kernel, cu_seqlens, lower_bound=lower_bound, state_v_first=state_v_first,
                      mode="recurrent", A_log=A_log, dt_bias=dt_bias, **kwargs)
