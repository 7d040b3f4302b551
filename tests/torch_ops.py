"""torch_ops.py LIBRARY [SEED] - compares operations with PyTorch's: values and gradients.

The shared library is called through ctypes. Every comparison draws sizes and numbers anew, in f32 and f64,
and gives both sides the same permuted and stepped views. The error of an array is ||x - ref|| /
max(||ref||, 0.01 sqrt(count)), as in the tests in C. Exit status 1: something differs.
"""

import ctypes as c
import random
import re
import sys

import torch
import torch.nn.functional as F

F32, F64, I64 = 0, 1, 2
DTYPES = {torch.float32: F32, torch.float64: F64, torch.int64: I64}
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-11}
MEAN, SUM, NONE = 0, 1, 2


class Tensor(c.Structure):
    _fields_ = [("node", c.c_void_p), ("generation", c.c_uint64)]


class Shape(c.Structure):
    _fields_ = [("ndim", c.c_int), ("dim", c.c_int64 * 8)]


class Array(c.Structure):
    _fields_ = [("dtype", c.c_int), ("ndim", c.c_int), ("shape", c.c_int64 * 8), ("stride", c.c_int64 * 8),
                ("data", c.c_void_p)]


class CrossEntropy(c.Structure):
    _fields_ = [("has_ignore", c.c_bool), ("ignore", c.c_int64), ("sum", c.c_bool), ("label_smoothing", c.c_double),
                ("reduction", c.c_int), ("weight", Tensor)]


class Loss(c.Structure):
    _fields_ = [("reduction", c.c_int), ("weight", Tensor), ("pos_weight", Tensor), ("delta", c.c_double)]


class Conv1d(c.Structure):
    _fields_ = [("stride", c.c_int64), ("padding", c.c_int64), ("dilation", c.c_int64), ("groups", c.c_int64)]


class Solve(c.Structure):
    _fields_ = [("upper", c.c_bool), ("unit", c.c_bool), ("transpose", c.c_bool)]


NOTHING = Tensor(None, 0)
lib = c.CDLL(sys.argv[1])
rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
torch.manual_seed(rng.randrange(1 << 30))
torch.set_num_threads(1)
lib.pal_tape_new.restype = c.c_void_p
tape = lib.pal_tape_new()


def argument(a):
    """An argument as C takes it; integers of every width fit into a register of 64 bits."""
    if isinstance(a, str):
        return a.encode()
    if isinstance(a, float):
        return c.c_double(a)
    if isinstance(a, int):
        return c.c_int64(a)
    if isinstance(a, (list, tuple)):
        return ((Tensor if a and isinstance(a[0], Tensor) else c.c_int) * len(a))(*a)
    return a


def pal(name, *args, result=Tensor):
    f = getattr(lib, "pal_" + name)
    f.restype = result
    return f(*map(argument, args))


def several(name, n, *args):
    """An operation that writes its n results to an array, which is its last argument."""
    out = (Tensor * n)()
    pal(name, *args, out, result=None)
    return list(out)


def shape(*sizes):
    return Shape(len(sizes), (c.c_int64 * 8)(*sizes))


def array_of(t):
    return Array(DTYPES[t.dtype], t.dim(), (c.c_int64 * 8)(*t.shape), (c.c_int64 * 8)(*t.stride()), t.data_ptr())


def to_pal(t):
    t = t.detach()
    return pal("from_array", c.c_void_p(tape), c.byref(array_of(t)))


def to_torch(x):
    a = pal("value", pal("contiguous", x), result=Array)
    dtype = {v: k for k, v in DTYPES.items()}[a.dtype]
    t = torch.empty(list(a.shape)[: a.ndim], dtype=dtype)
    c.memmove(t.data_ptr(), a.data, t.numel() * t.element_size())
    return t


class Input:
    """A leaf on both sides, and one view of it: its axes permuted, and every second entry of one."""

    def __init__(self, values, wanted):
        axes = list(range(values.dim()))
        rng.shuffle(axes)
        self.order = [axes.index(d) for d in range(values.dim())]
        self.step = bool(axes) and rng.random() < 0.5
        base = values.permute(axes).contiguous()
        if self.step:
            base = torch.stack([base, base * 0 + 7], -1).flatten(-2)
        self.leaf = base.clone().requires_grad_(wanted and values.dtype != torch.int64)
        self.ours = to_pal(base)
        if self.leaf.requires_grad:
            pal("want_grad", self.ours)

    def torch_view(self):
        t = self.leaf[..., ::2] if self.step else self.leaf
        return t.permute(self.order)

    def pal_view(self):
        t = self.ours
        if self.step:
            t = pal("slice", t, -1, 0, self.leaf.shape[-1], 2)
        return pal("permute", t, self.order) if self.order else t


def size(low=1, high=5):
    return rng.randint(low, high)


def sizes(n):
    return [size() for _ in range(n)]


def real(*dims, low=-1.0, high=1.0, wanted=True):
    return lambda dtype: Input(torch.rand(*dims, dtype=dtype) * (high - low) + low, wanted)


def constant(*dims, **how):
    return real(*dims, wanted=False, **how)


def whole(*dims, low=0, high=5):
    return lambda dtype: Input(torch.randint(low, high, dims), False)


failures, names, compared = [], set(), 0


def differs(name, what, ours, theirs):
    global compared
    compared += 1
    where = f"{name}, {what}, {str(theirs.dtype)[6:]}"
    if list(ours.shape) != list(theirs.shape):
        failures.append(f"{where}: shape {list(ours.shape)}, PyTorch has {list(theirs.shape)}")
        return
    if theirs.dtype == torch.int64:
        if not torch.equal(ours, theirs):
            failures.append(f"{where}: the integers differ")
        return
    scale = max(float(theirs.norm()), 0.01 * theirs.numel() ** 0.5) if theirs.numel() else 1
    error = float((ours - theirs).norm()) / scale
    if not error <= TOLERANCE[theirs.dtype]:
        failures.append(f"{where}: error {error:.3g}")


def listed(x):
    return list(x) if isinstance(x, (list, tuple)) else [x]


def compare(name, inputs, ours, theirs, dtypes=(torch.float32, torch.float64), gradient=True):
    """inputs make an Input for a dtype; ours and theirs take the views and give one result or several."""
    names.add(re.match(r"\w+", name).group())
    for dtype in dtypes:
        made = [make(dtype) for make in inputs]
        results = listed(ours(*[i.pal_view() for i in made]))
        wanted = listed(theirs(*[i.torch_view() for i in made]))
        if len(results) != len(wanted):
            failures.append(f"{name}: {len(results)} results, PyTorch has {len(wanted)}")
            continue
        for i, (r, w) in enumerate(zip(results, wanted)):
            # A mask is of the operands' dtype here, and bool in PyTorch.
            differs(name, f"result {i}", to_torch(r), w.to(to_torch(r).dtype) if w.dtype == torch.bool else w.detach())
        with_gradient = [(r, w) for r, w in zip(results, wanted) if w.requires_grad and gradient]
        if with_gradient:
            cotangents = [torch.rand_like(w) - 0.5 for _, w in with_gradient]
            n = len(cotangents)
            pal("backward_from", n, [r for r, _ in with_gradient], [to_pal(g) for g in cotangents], result=c.c_int)
            torch.autograd.backward([w for _, w in with_gradient], cotangents)
            for i, x in enumerate(made):
                if x.leaf.requires_grad and x.leaf.grad is not None:
                    differs(name, f"gradient {i}", to_torch(pal("grad", x.ours)), x.leaf.grad)
        pal("tape_reset", c.c_void_p(tape), result=None)


def simple(name, inputs, theirs, *rest, **how):
    compare(name, inputs, lambda *x: pal(name, *x, *rest), theirs, **how)


# ---- Elementwise ----


def elementwise():
    d = sizes(3)
    anywhere, above = [real(*d, low=-2.0, high=2.0)], [real(*d, low=0.2, high=3.0)]
    for name in ("neg", "abs", "square", "exp", "sin", "cos", "erf", "tanh", "sigmoid", "relu"):
        simple(name, anywhere, getattr(torch, name))
    simple("sign", anywhere, torch.sign, gradient=False)  # PyTorch's is zeros
    for name in ("sqrt", "rsqrt", "log"):
        simple(name, above, getattr(torch, name))
    simple("softplus", [real(*d, low=-9.0, high=30.0)], F.softplus)
    simple("silu", anywhere, F.silu)
    simple("gelu", anywhere, lambda x: F.gelu(x, approximate="tanh"))
    simple("leaky_relu", anywhere, lambda x: F.leaky_relu(x, 0.1), 0.1)
    simple("clamp", anywhere, lambda x: x.clamp(-0.5, 0.75), -0.5, 0.75)
    simple("affine", anywhere, lambda x: 1.5 * x - 0.25, 1.5, -0.25)
    simple("wrap", anywhere, lambda x: torch.remainder(x, 1.25), 1.25)
    simple("swiglu", [real(*d), real(*d)], lambda a, b: F.silu(a) * b)
    pair = [real(*d, low=-2.0, high=2.0), real(1, d[2], low=-2.0, high=2.0)]
    for name in ("add", "sub", "mul", "atan2", "maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge"):
        simple(name, pair, getattr(torch, name))
    simple("div", [pair[0], real(1, d[2], low=0.5, high=2.0)], torch.div)
    simple("pow", [real(*d, low=0.5, high=2.0), pair[1]], torch.pow)
    integers = [whole(*d, low=-9, high=9), whole(d[1], 1, low=1, high=5)]
    simple("div", integers, lambda a, b: torch.div(a, b, rounding_mode="floor"), dtypes=[torch.float64])
    simple("mod", integers, torch.remainder, dtypes=[torch.float64])
    simple("where", [whole(*d, high=2), *pair], lambda m, a, b: torch.where(m != 0, a, b))
    simple("masked_fill", [real(*d), whole(*d, high=2)], lambda x, m: x.masked_fill(m != 0, 3.0), 3.0)
    simple("tril", anywhere, lambda x: x.tril(1), 1)
    simple("triu", anywhere, lambda x: x.triu(-1), -1)
    simple("cast", anywhere, lambda x: x.double(), F64)
    simple("cast", [whole(*d)], lambda x: x.float(), F32)
    simple("cast", [real(*d, low=-9.0, high=9.0, wanted=False)], lambda x: x.long(), I64)


# ---- Reductions, rows and order ----


def reductions():
    d = sizes(4)
    x, axis, keep = [real(*d)], rng.randint(-4, 3), rng.random() < 0.5
    for name in ("sum", "mean", "logsumexp", "norm"):
        theirs = {"norm": lambda t: torch.linalg.vector_norm(t, dim=axis, keepdim=keep)}
        simple(name, x, theirs.get(name, lambda t: getattr(torch, name)(t, dim=axis, keepdim=keep)), axis, keep)
    for name in ("max", "min"):
        simple(name, x, lambda t: getattr(torch, name)(t, dim=axis, keepdim=keep)[0], axis, keep)
        simple("arg" + name, x, lambda t: getattr(torch, "arg" + name)(t, dim=axis, keepdim=keep), axis, keep)
    axes = rng.sample(range(4), size(1, 3))
    n = len(axes)
    for name, theirs in (("sum_over", torch.sum), ("mean_over", torch.mean), ("max_over", torch.amax),
                         ("min_over", torch.amin)):
        simple(name, x, lambda t: theirs(t, dim=axes, keepdim=keep), n, axes, keep)
    for name in ("var", "std"):
        for correction in (0, 1):
            y = [real(*[s + 1 for s in d])]
            simple(name, y, lambda t: getattr(torch, name)(t, dim=axes, correction=correction, keepdim=keep), n, axes,
                   float(correction), keep)
    for name in ("softmax", "log_softmax", "cumprod"):
        simple(name, x, lambda t: getattr(torch, name)(t, dim=axis), axis)
    simple("cumsum", x, lambda t: t.cumsum(axis), axis, False)
    simple("cumsum", x, lambda t: t.flip(axis).cumsum(axis).flip(axis), axis, True)
    compare("cumprod with zeros", [real(*d), whole(*d, high=2)],
            lambda a, m: pal("cumprod", pal("where", m, a, pal("affine", a, 0.0, 0.0)), axis),
            lambda a, m: torch.cumprod(torch.where(m != 0, a, a * 0), axis))
    for descending in (False, True):
        compare("sort", x, lambda t: several("sort", 2, t, axis, descending),
                lambda t: torch.sort(t, dim=axis, descending=descending, stable=True))
        compare("sort", [whole(*d)], lambda t: several("sort", 2, t, axis, descending),
                lambda t: torch.sort(t, dim=axis, descending=descending, stable=True))
    k = size(1, d[3])
    compare("topk", x, lambda t: several("topk", 2, t, k), lambda t: torch.topk(t, k))
    rows, w, b = real(*d), real(d[3]), real(d[3])
    eps = 1e-3
    simple("rms_norm", [rows, w], lambda t, u: t / (t.square().mean(-1, True) + eps).sqrt() * u, eps)
    simple("layer_norm", [rows, w, b], lambda t, u, v: F.layer_norm(t, (d[3],), u, v, eps), eps)
    simple("l2_norm", [rows], lambda t: t / (t.square().sum(-1, True) + eps).sqrt(), eps)
    groups, each = size(1, 3), size(1, 3)
    channels = groups * each
    compare("group_norm", [real(d[0], channels, d[1] + 1, d[2]), real(channels), real(channels)],
            lambda t, u, v: pal("group_norm", t, groups, u, v, eps),
            lambda t, u, v: F.group_norm(t, groups, u, v, eps))


# ---- Losses ----


def losses():
    rows, n, width, ignore = size(3, 6), size(2, 6), size(), 0
    logits, targets, per_class = real(rows, n, low=-3.0, high=3.0), whole(rows, high=n), constant(n, low=0.2, high=2.0)
    for reduction, word in ((MEAN, "mean"), (SUM, "sum"), (NONE, "none")):
        o = {"reduction": word, "label_smoothing": 0.1, "ignore_index": ignore}
        opts = CrossEntropy(True, ignore, False, 0.1, reduction, NOTHING)
        some = lambda dtype: Input(torch.cat([torch.tensor([n - 1]), torch.randint(0, n, (rows - 1,))]), False)
        compare("cross_entropy", [logits, some], lambda x, t: pal("cross_entropy", x, t, opts),
                lambda x, t: F.cross_entropy(x, t, **o))
        compare("linear_cross_entropy", [real(rows, width), real(n, width), real(n), some],
                lambda x, w, b, t: pal("linear_cross_entropy", x, w, b, t, opts),
                lambda x, w, b, t: F.cross_entropy(F.linear(x, w, b), t, **o))
        compare("cross_entropy, class weights", [logits, targets, per_class],
                lambda x, t, w: pal("cross_entropy", x, t, CrossEntropy(
                    False, 0, False, 0.0, reduction, pal("gather", w, 0, t))),
                lambda x, t, w: F.cross_entropy(x, t, w, reduction=word))
        d = sizes(3)
        x, y = real(*d, low=-3.0, high=3.0), real(*d, low=-3.0, high=3.0)
        plain = Loss(reduction, NOTHING, NOTHING, 0.75)
        compare("mse", [x, y], lambda a, b: pal("mse", a, b, plain), lambda a, b: F.mse_loss(a, b, reduction=word))
        compare("mae", [x, y], lambda a, b: pal("mae", a, b, plain), lambda a, b: F.l1_loss(a, b, reduction=word))
        compare("huber", [x, y], lambda a, b: pal("huber", a, b, plain),
                lambda a, b: F.huber_loss(a, b, reduction=word, delta=0.75))
        weights = [constant(*d, low=0.2, high=2.0), constant(d[2], low=0.2, high=2.0)]

        # The mean divides by the weights here, and by the number of elements in PyTorch.
        def bce(a, b, w, p):
            l = F.binary_cross_entropy_with_logits(a, b, w, reduction="sum" if word == "mean" else word, pos_weight=p)
            return l / w.sum() if word == "mean" else l

        compare("bce_logits", [x, real(*d, low=0.0, high=1.0), *weights],
                lambda a, b, w, p: pal("bce_logits", a, b, Loss(reduction, w, p, 0.0)), bce)


# ---- Products ----


def products():
    m, k, n, b, h = sizes(5)
    simple("matmul", [real(b, m, k), real(h, 1, k, n)], torch.matmul)
    simple("linear", [real(b, m, k), real(n, k), real(n)], F.linear)
    for text, left, right in (("ij,jk->ik", (m, k), (k, n)), ("bij,bkj->bik", (b, m, k), (b, n, k)),
                              ("bhtk,bhsk->bhts", (b, h, m, k), (b, h, n, k)), ("i,j->ji", (m,), (n,)),
                              ("ijk,jb->i", (m, k, n), (k, b)), ("ij,ij->", (m, k), (m, k)),
                              ("tbc,cbs->sbt", (m, b, k), (k, b, n))):
        compare("einsum " + text, [real(*left), real(*right)], lambda x, y: pal("einsum", text, x, y),
                lambda x, y: torch.einsum(text, x, y))
    for upper in (False, True):
        triangle = lambda dtype: Input(torch.eye(n, dtype=dtype) * 2 + 0.3 * torch.rand(b, n, n, dtype=dtype), True)
        # Only one triangle is read, and PyTorch gives the gradient of the other as zeros too.
        compare("triangular_solve", [triangle, real(b, n, m)],
                lambda t, x: pal("triangular_solve", t, x, Solve(upper, False, False)),
                lambda t, x: torch.linalg.solve_triangular(t, x, upper=upper))
    for _ in range(3):
        groups, stride, dilation, padding, width = size(1, 3), size(1, 3), size(1, 3), size(0, 3), size(1, 4)
        into, out, t = groups * size(1, 3), groups * size(1, 3), dilation * (width - 1) + 1 + size(0, 6)
        compare("conv1d", [real(b, into, t), real(out, into // groups, width), real(out)],
                lambda x, w, v: pal("conv1d", x, w, v, Conv1d(stride, padding, dilation, groups)),
                lambda x, w, v: F.conv1d(x, w, v, stride, padding, dilation, groups))


# ---- Shapes and indices ----


def shapes():
    a, b, d, e = sizes(4)
    x = [real(a, b, d, e)]
    both = [whole(a, b, d, e), x[0]]
    axis = rng.randint(-4, 3)
    n = (a, b, d, e)[axis]
    for kind in both:
        simple("reshape", [kind], lambda t: t.reshape(b, a * d * e), shape(b, -1))
        simple("permute", [kind], lambda t: t.permute(2, 0, 3, 1), [2, 0, 3, 1])
        simple("transpose", [kind], lambda t: t.transpose(axis, 1), axis, 1)
        simple("flip", [kind], lambda t: t.flip(axis), axis)
        simple("contiguous", [kind], lambda t: t.contiguous())
        simple("unsqueeze", [kind], lambda t: t.unsqueeze(2), 2)
        simple("select", [kind], lambda t: t.select(axis, n - 1), axis, n - 1)
        simple("slice", [kind], lambda t: t[:, :, 0:d:2], 2, 0, d, 2)
    simple("squeeze", [real(a, 1, b)], lambda t: t.squeeze(1), 1)
    simple("expand", [real(a, 1, b)], lambda t: t.expand(d, a, e, b), shape(d, a, e, b))
    simple("repeat", x, lambda t: torch.cat([t] * 3, axis), axis, 3)
    simple("repeat_interleave", x, lambda t: t.repeat_interleave(3, axis), axis, 3)
    simple("pad", x, lambda t: F.pad(t, (1, 2), value=0.5), 3, 1, 2, 0.5)
    compare("split", x, lambda t: several("split", 2, t, 3, 2, (c.c_int64 * 2)(1, e - 1)),
            lambda t: t.split([1, e - 1], 3))
    compare("concat", [real(a, b, d), real(a, e, d)], lambda p, q: pal("concat", 2, [p, q], 1),
            lambda p, q: torch.cat([p, q], 1))
    compare("stack", [real(a, b), real(a, b)], lambda p, q: pal("stack", 2, [p, q], 1),
            lambda p, q: torch.stack([p, q], 1))
    simple("embedding", [real(5, d), whole(a, b)], lambda w, i: F.embedding(i, w))
    wide = list((a, b, d, e))
    wide[axis] = 7
    index = whole(*wide, high=n)
    compare("gather", [x[0], index], lambda t, i: pal("gather", t, axis, i), lambda t, i: t.gather(axis, i))
    compare("index_select", [x[0], whole(6, high=n)], lambda t, i: pal("index_select", t, axis, i),
            lambda t, i: t.index_select(axis, i))
    for source in (real(*wide), whole(*wide)):
        into = x[0] if source.__qualname__.startswith("real") else both[0]
        compare("scatter_add", [into, index, source], lambda t, i, s: pal("scatter_add", t, axis, i, s),
                lambda t, i, s: t.scatter_add(axis, i, s))
    simple("one_hot", [whole(a, b)], lambda i: F.one_hot(i, 5), 5, I64)


for _ in range(3):
    for group in (elementwise, reductions, losses, products, shapes):
        group()
print(f"{len(names)} operations, {compared} arrays compared with PyTorch {torch.__version__}, {len(failures)} differ")
for failure in failures[:20]:
    print("FAIL:", failure)
if len(names) < 40:
    print("FAIL: fewer than 40 operations were compared")
sys.exit(1 if failures or len(names) < 40 else 0)
