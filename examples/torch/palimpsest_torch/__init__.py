"""The linear-attention kernels of Palimpsest for PyTorch on a CPU.

    import palimpsest_torch
    palimpsest_torch.use()      # transformers and flash-linear-attention call them from now on

The functions have the names and arguments of flash-linear-attention, mamba_ssm, causal_conv1d and flash_attn.
"""

from .attention import flash_attn_func, flash_attn_varlen_func
from .function import call
from .library import describe, one_runtime
from .mamba import causal_conv1d_fn, gated_rms_norm, mamba_chunk_scan_combined, selective_state_update
from .mamba_3 import mamba3, mamba3_siso_combined
from .replace import restore, use
from .rules import (
    chunk_gated_delta_rule,
    chunk_gdn2,
    chunk_kda,
    fused_recurrent_gated_delta_rule,
    fused_recurrent_gdn2,
    fused_recurrent_kda,
)

__all__ = [
    "call", "causal_conv1d_fn", "chunk_gated_delta_rule", "chunk_gdn2", "chunk_kda", "describe", "flash_attn_func",
    "flash_attn_varlen_func", "fused_recurrent_gated_delta_rule", "fused_recurrent_gdn2", "fused_recurrent_kda",
    "gated_rms_norm", "mamba3", "mamba3_siso_combined", "mamba_chunk_scan_combined", "one_runtime", "restore",
    "selective_state_update", "use",
]
