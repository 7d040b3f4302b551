"""A kernel as a function of torch: it calls on the tensors' own memory, and has a gradient."""

import ctypes
import threading

import torch
from torch._compile import _disable_dynamo

from .library import DTYPES, MAX_OUT, Array, Call, Error, Sizes, check, find, lib

_own = threading.local()  # of each thread: plans and scratch, since calls of several threads run at once
_MOST_PLANS = 256
_READS_RESULTS = ("attention", "mamba3")  # kernels whose backward reads what forward has computed


def _describe(array, shape, stride, dtype):
    array.dtype, array.ndim = DTYPES[dtype], len(shape)
    for d, (n, s) in enumerate(zip(shape, stride)):
        array.shape[d], array.stride[d] = n, s


def _dense(shape):
    stride, n = [], 1
    for size in reversed(shape):
        stride.append(n)
        n *= size
    return stride[::-1]


class _Plan:
    """A call with everything but addresses, for inputs of these shapes and strides."""

    def __init__(self, kernel, opts, results, threads, inputs):
        self.kernel, self.results = find(kernel), results
        self.call, self.error = Call(), Error()
        call, self.arrays = self.call, [[Array() for _ in range(n)] for n in (len(inputs), results) * 2]
        for name, value in opts:
            setattr(call.opts, name, value)
        call.threads = threads
        for i, x in enumerate(inputs):
            if x is None:
                continue
            _describe(self.arrays[0][i], x.shape, x.stride(), x.dtype)
            self.arrays[0][i].data = x.data_ptr()
            _describe(self.arrays[2][i], x.shape, _dense(x.shape), x.dtype)
            call.inputs[i] = ctypes.pointer(self.arrays[0][i])
        for i in range(results):
            call.out[i] = ctypes.pointer(self.arrays[1][i])
        self.sizes = Sizes()
        self.do(lib.pal_kernel_measure, ctypes.byref(self.sizes))
        self.dtype = next(x.dtype for x in inputs if x is not None)
        self.shapes = [list(s.dim[: s.ndim]) for s in self.sizes.out[:results]]
        for shape, out, dout in zip(self.shapes, self.arrays[1], self.arrays[3]):
            _describe(out, shape, _dense(shape), self.dtype)
            _describe(dout, shape, _dense(shape), self.dtype)

    def do(self, function, *more):
        check(function(self.kernel, ctypes.byref(self.call), *more, ctypes.byref(self.error)), self.error)

    def give(self, inputs, keep, scratch_bytes):
        for array, x in zip(self.arrays[0], inputs):
            if x is not None:
                array.data = x.data_ptr()
        scratch = _scratch(scratch_bytes)
        call = self.call
        call.scratch, call.scratch_bytes = scratch.data_ptr(), scratch.numel()
        call.keep, call.keep_bytes = (None, 0) if keep is None else (keep.data_ptr(), keep.numel())


def _scratch(size):
    have = getattr(_own, "scratch", None)
    if have is None or have.numel() < size:
        have = _own.scratch = torch.empty(max(size, 64), dtype=torch.uint8)
    return have


def _plan(kernel, opts, results, inputs):
    threads = torch.get_num_threads()
    # Offsets are int64; the sizes of a call depend on their values.
    signature = tuple(
        None if x is None else (x.shape, x.stride(), x.dtype, tuple(x.tolist()) if x.dtype == torch.int64 else None)
        for x in inputs
    )
    key = (kernel, opts, results, threads, signature)
    plans = _own.__dict__.setdefault("plans", {})
    plan = plans.get(key)
    if plan is None:
        if len(plans) >= _MOST_PLANS:
            plans.clear()
        plan = plans[key] = _Plan(kernel, opts, results, threads, inputs)
    return plan


def _forward(kernel, opts, results, keeps, inputs, into=None):
    plan = _plan(kernel, opts, results, inputs)
    keep = torch.empty(max(plan.sizes.keep, 64), dtype=torch.uint8) if keeps else None
    out = [torch.empty(shape, dtype=plan.dtype) for shape in plan.shapes]
    if into is not None:
        out[1] = into
    for array, x in zip(plan.arrays[1], out):
        array.data = x.data_ptr()
    plan.give(inputs, keep, plan.sizes.forward)
    plan.do(lib.pal_kernel_forward)
    return out, keep


def _backward(kernel, opts, results, wanted, inputs, keep, outs, douts):
    plan = _plan(kernel, opts, results, inputs)
    for array, x in zip(plan.arrays[1], outs):
        array.data = x.data_ptr()
    douts = [None if d is None else d.to(plan.dtype).contiguous() for d in douts]
    gradients = [torch.empty(x.shape, dtype=x.dtype) if w else None for w, x in zip(wanted, inputs)]
    call, none = plan.call, ctypes.POINTER(Array)()
    for i, d in enumerate(gradients):
        call.din[i] = none if d is None else ctypes.pointer(plan.arrays[2][i])
        if d is not None:
            plan.arrays[2][i].data = d.data_ptr()
    for i in range(MAX_OUT):
        d = douts[i] if i < len(douts) else None
        call.dout[i] = none if d is None else ctypes.pointer(plan.arrays[3][i])
        if d is not None:
            plan.arrays[3][i].data = d.data_ptr()
    plan.give(inputs, keep, plan.sizes.backward)  # without `outs`, addresses of an earlier call stay: nothing reads there
    plan.do(lib.pal_kernel_backward)
    return gradients


class _Kernel(torch.autograd.Function):
    @staticmethod
    def forward(ctx, kernel, opts, results, *inputs):
        out, keep = _forward(kernel, opts, results, True, inputs)
        kept = out if kernel in _READS_RESULTS else []
        ctx.save_for_backward(keep, *kept, *inputs)
        ctx.set_materialize_grads(False)
        ctx.kernel, ctx.opts, ctx.results, ctx.kept = kernel, opts, results, len(kept)
        return tuple(out)

    @staticmethod
    def backward(ctx, *douts):
        keep, *saved = ctx.saved_tensors
        outs, inputs = saved[: ctx.kept], saved[ctx.kept :]
        if all(d is None for d in douts):
            return (None,) * (3 + len(inputs))
        wanted = ctx.needs_input_grad[3:]
        plain = (ctx.kernel, ctx.opts, ctx.results, wanted)
        if torch.is_grad_enabled():  # create_graph: whoever differentiates the gradient is told
            return (None, None, None, *_Gradient.apply(*plain, len(inputs), len(outs), keep, *inputs, *outs, *douts))
        return (None, None, None, *_backward(*plain, inputs, keep, outs, douts))


class _Gradient(torch.autograd.Function):
    """A gradient that has none itself."""

    @staticmethod
    def forward(ctx, kernel, opts, results, wanted, count, kept, keep, *tensors):
        ctx.kernel = kernel
        inputs, outs, douts = tensors[:count], tensors[count : count + kept], tensors[count + kept :]
        return tuple(_backward(kernel, opts, results, wanted, inputs, keep, outs, douts))

    @staticmethod
    def backward(ctx, *ignored):
        raise RuntimeError(
            f"palimpsest_torch: {ctx.kernel} has no second derivative; use the reference implementation in torch"
        )


def _refuse(kernel, inputs):
    for x in inputs:
        if x is not None and x.device.type != "cpu":
            raise ValueError(f"palimpsest_torch: {kernel} is for tensors on the CPU, and one is on {x.device}")


def call(kernel, inputs, results=1, into=None, **opts):
    """The first `results` results of a kernel. Inputs are tensors, None where one is left out.

    into: the memory of the second result, which may be that of the state; only without gradients.
    """
    if torch.compiler.is_compiling():  # it does not look into a C library: the graph ends here
        return _in_pieces(kernel, inputs, results, into, opts)
    return _call(kernel, inputs, results, into, opts)


def _call(kernel, inputs, results, into, opts):
    _refuse(kernel, inputs)
    opts = tuple(sorted(opts.items()))
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs):
        return _Kernel.apply(kernel, opts, results, *inputs)
    return _forward(kernel, opts, results, False, inputs, into)[0]


# What torch.compiler.disable does, without importing the compiler where nobody compiles.
_in_pieces = _disable_dynamo(_call)
