"""use(): puts the functions where transformers, flash-linear-attention and mamba_ssm look for theirs.

A function there is replaced by one that takes calls on CPU tensors, and hands on all others to the one that was
there. Modules that are imported later are changed as they come.
"""

import functools
import importlib.abc
import importlib.util
import sys

import torch

from . import fla_modules, mamba, mamba_3, rules

PACKAGES = ("transformers", "fla", "mamba_ssm", "causal_conv1d")


def _tied(state, x, dt, A, *more, **options):
    """Mamba-2 has one A and dt for all channels of a head; Mamba-1 has not."""
    return (
        A.dim() == 3 and A.stride(1) == 0 and A.stride(2) == 0 and dt.dim() == 3 and dt.stride(2) == 0
        and not (torch.is_grad_enabled() and any(t.requires_grad for t in (x, dt, state)))
    )


def _silu(*arguments, activation=None, **options):
    return activation in (None, "silu", "swish")


def _no_more(*arguments, activation=None, backend=None, cp_context=None, **options):
    """fla's convolution; the arrays of other backends are those of a GPU."""
    return activation in (None, "silu", "swish") and cp_context is None and (options.get("weight") is not None or len(arguments) > 1)


def _one_token(x, cache, residual=None, weight=None, bias=None, activation=None):
    return activation in (None, "silu", "swish") and weight is not None and not torch.is_grad_enabled()


def _few(*arguments, **options):
    """After beta, the functions of transformers and of flash-linear-attention go on differently."""
    return len(arguments) <= 5


# name: (ours, when it is called; None: always)
FUNCTIONS = {
    "chunk_gated_delta_rule": (rules.chunk_gated_delta_rule, None),
    "fused_recurrent_gated_delta_rule": (rules.fused_recurrent_gated_delta_rule, None),
    "torch_chunk_gated_delta_rule": (rules.chunk_gated_delta_rule, _few),
    "torch_recurrent_gated_delta_rule": (
        functools.partial(rules.chunk_gated_delta_rule, mode="recurrent"), _few),
    "chunk_kda": (rules.chunk_kda, None),
    "fused_recurrent_kda": (rules.fused_recurrent_kda, None),
    "chunk_kimi_delta_attention": (rules.chunk_kda, _few),
    "recurrent_kimi_delta_attention": (functools.partial(rules.chunk_kda, mode="recurrent"), _few),
    "chunk_gdn2": (rules.chunk_gdn2, None),
    "fused_recurrent_gdn2": (rules.fused_recurrent_gdn2, None),
    "mamba2_chunk_scan": (mamba.mamba_chunk_scan_combined, None),
    "mamba_chunk_scan_combined": (mamba.mamba_chunk_scan_combined, None),
    "mamba2_selective_state_update": (mamba.selective_state_update, _tied),
    "selective_state_update": (mamba.selective_state_update, _tied),
    "mamba3_siso_combined": (mamba_3.mamba3_siso_combined, mamba_3._shared_angles),
    "causal_conv1d_fn": (mamba.causal_conv1d_fn, _silu),
}

# Of these names other packages have functions with other arguments.
FLA_FUNCTIONS = {
    "causal_conv1d": (fla_modules.causal_conv1d, _no_more),
    "causal_conv1d_update": (fla_modules.causal_conv1d_update, _one_token),
    "rms_norm_gated": (fla_modules.rms_norm_gated, fla_modules._plain_norm),
}


def _on_cpu(arguments, options):
    tensors = [x for x in (*arguments, *options.values()) if isinstance(x, torch.Tensor)]
    return all(x.device.type == "cpu" for x in tensors)


# Models and modules may have taken a function of ours while it was there. After restore() it hands all calls
# on, until use() is called again.
_in_use = False


def _dispatcher(ours, fits, theirs):
    @functools.wraps(theirs)
    def dispatch(*arguments, **options):
        if _in_use and _on_cpu(arguments, options) and (fits is None or fits(*arguments, **options)):
            return ours(*arguments, **options)
        return theirs(*arguments, **options)

    dispatch.palimpsest_replaces = theirs
    return dispatch


def _norm_forward(theirs):
    """The forward of a gated norm of transformers: norm first, as the delta layers have it, or, where a norm has a
    group_size, gate first, as Mamba-2 has it."""

    @functools.wraps(theirs)
    def forward(self, hidden_states, gate=None, **options):
        silu = getattr(self, "activation", "silu") in ("silu", "swish")
        if not _in_use or options or gate is None or not silu or not _on_cpu((hidden_states, gate, self.weight), {}):
            return theirs(self, hidden_states, gate, **options)
        size = getattr(self, "group_size", None)
        if size is None:
            return mamba.gated_rms_norm(hidden_states, gate, self.weight, self.variance_epsilon)
        return mamba.gated_rms_norm(hidden_states, gate, self.weight, self.variance_epsilon,
                                    hidden_states.shape[-1] // size, gate_first=True)

    forward.palimpsest_replaces = theirs
    return forward


# Of these classes the forward is known; others of such a name may do something else.
NORMS = {"Qwen3NextRMSNormGated", "Qwen3_5RMSNormGated", "Qwen3_5MoeRMSNormGated", "MambaRMSNormGated"}


def _places(module):
    """(object, attribute, what replaces it) of a module."""
    functions = FUNCTIONS | FLA_FUNCTIONS if module.__name__.split(".")[0] == "fla" else FUNCTIONS
    for name, value in list(vars(module).items()):
        if name in functions and callable(value):
            yield module, name, lambda theirs, name=name: _dispatcher(*functions[name], theirs)
        elif name in NORMS and isinstance(value, type):
            yield value, "forward", _norm_forward


def _looked_at(module):
    name = getattr(module, "__name__", "") or ""
    return name.split(".")[0] in PACKAGES and ("." not in name or name.split(".")[0] != "transformers"
                                               or ".models." in name)


_replaced = []


def _change(module):
    for place, name, make in _places(module):
        theirs = vars(place)[name]
        if hasattr(theirs, "palimpsest_replaces"):
            continue
        setattr(place, name, make(theirs))
        _replaced.append((place, name, theirs))


class _Loader(importlib.abc.Loader):
    def __init__(self, loader):
        self.loader = loader

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        self.loader.exec_module(module)
        module.__spec__.loader = module.__loader__ = self.loader
        if _finder in sys.meta_path:
            _change(module)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in PACKAGES:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


_finder = _Finder()


def use():
    """Replaces the functions; returns the names of those that were replaced now. restore() takes it back."""
    global _in_use
    _in_use = True
    before = len(_replaced)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    for module in list(sys.modules.values()):
        if module is not None and _looked_at(module):
            _change(module)
    return [f"{getattr(place, '__name__', place)}.{name}" for place, name, _ in _replaced[before:]]


def restore():
    """Puts back everything that use() has replaced. A function of ours that a model or a module has kept hands on its
    calls until use() is called again."""
    global _in_use
    _in_use = False
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
    while _replaced:
        place, name, theirs = _replaced.pop()
        setattr(place, name, theirs)
