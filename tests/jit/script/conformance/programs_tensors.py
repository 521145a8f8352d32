"""Tensors: every form of indexing, attributes, and gradients through control flow."""

# The programs are as people write them, odd ones included.
# ruff: noqa

import ingot
from conformance_table import accept

v = ingot.tensor([1.0, -2.0, 3.0])
m = ingot.arange(12.0).reshape(3, 4)
c = ingot.arange(24.0).reshape(2, 3, 4)
i = ingot.tensor([2, 0])
mask = ingot.tensor([True, False, True])


@accept("indexing", (c, i), (c + 1, i), slow=True)
def reads(x, idx):
    return (
        x[0], x[-1], x[1, 2], x[1, 2, 3], x[:, 1], x[..., 0], x[0, ...], x[None], x[:, None, 1:], x[..., None],
        x[::2, 1:, ::3], x[:, -2:], x[:, idx], x[:, idx, idx], x[..., idx], x[1, idx, 1:], x[:, [0, 2]],
        x[x > 5], x[:, ingot.tensor([True, False, True])], x[True], x[idx[1], 0], x[:, :, idx[0]],
    )  # fmt: skip


@accept("indexing", (m, i, mask), slow=True)
def writes(x, idx, keep):
    y = x.clone()
    y[0] = 1.0
    y[1, 2] = y[2, 3]
    y[:, 3] = ingot.tensor([5.0, 6.0, 7.0])
    y[..., 0] += 1
    y[idx, 1] = -1.0
    y[idx] *= 2
    y[keep] -= 0.5
    y[y < 0] = 0
    y[1:, ::2] = x[:2, 1::2]
    y[0, idx] = ingot.tensor([8.0, 9.0])
    y[:, [0, 3]] = y[:, [3, 0]]
    y[None, 1, None] = 3
    return y


@accept("indexing", (m, 1), (m, -1), (m, 2), slow=True)
def indices_at_run_time(x, k: int):
    y = x.clone()
    y[k] = 0
    y[k, k] = 7
    y[: k + 1, k:] += 1
    y[:: abs(k) + 1, 1:] = -1
    return x[k], x[k, 1:], x[:k], x[k:, k], x[::k] if k > 0 else x, y


@accept("indexing", (m, 3), (m, -4), shown=False)
def index_out_of_range(x, k: int):
    return x[k]


@accept("attributes", (c,))
def attributes(x):
    a, b, d = x.shape
    return (
        x.shape[0], x.size(1), x.size(), x.ndim, x.dim(), x.numel(), len(x), x.dtype == ingot.float32, a * b * d,
        x.mT.shape, x.T.shape if False else 0, x.device.type, x.is_floating_point(), x.shape[1:],
    )  # fmt: skip


@accept("gradients", (v,), (-v,))
def gradient_through_if(x):
    if x.sum() > 0:
        y = x * x
    else:
        y = x * 3
    return y.sum()


@accept("gradients", (v * 0.1,))
def gradient_through_while(x):
    n = 0
    while x.abs().sum() < 20:
        x = x * 2 + 0.1
        n += 1
    return x.sum() * n


@accept("gradients", (m,), slow=True)
def gradient_through_lists_of_tensors(x):
    parts = []
    for k in range(x.shape[0]):
        if k != 1:
            parts.append(x[k] * (k + 1))
    return ingot.stack(parts).sum(0), ingot.cat(parts)


@accept("gradients", (m, v))
def gradient_through_indexing_assignment(x, w):
    y = ingot.zeros(3, 4)
    for k in range(3):
        y[k] = x[k] * w[k]
        y[k, 0] += w[0]
    return y


class Recurrent(ingot.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        ingot.manual_seed(1)
        self.cell = ingot.nn.Linear(4, 4)
        self.scale = ingot.nn.Parameter(ingot.tensor(0.5))

    def forward(self, x):
        h = ingot.zeros(4)
        for row in x:
            h = ingot.tanh(self.cell(h) + row * self.scale)
        return h


@accept("gradients", (m * 0.1,), make=Recurrent)
def gradient_through_module_parameters(x):
    """See `Recurrent.forward`."""


@accept("gradients", (v, 1), (v, 0), shown=False)
def gradient_through_try(x, n: int):
    y = x * 2
    try:
        y = y * x
        k = 4 // n
        y = y * k
    except ZeroDivisionError:
        y = y + x
    return y


@accept("gradients", (v, 3), shown=False)
def gradient_through_break_and_return(x, n: int):
    y = x
    for k in range(10):
        if k == n:
            break
        y = y * x
        if y.sum() > 1000:
            return y * 2
    return y


_mask = ingot.tensor([[True, False, True]])


@accept(
    "tensor indexing forms",
    (ingot.zeros(1, 3), _mask, ingot.tensor([1.0, 2.0])),
    (ingot.zeros(1, 3), _mask, ingot.ones(1, 2)),
    (ingot.zeros(1, 1, 3), ingot.tensor([[True]]), ingot.tensor([1.0, 2.0, 3.0])),
    (ingot.zeros(2, 3), ingot.tensor([True, True]), ingot.ones(1, 1, 3)),
)
def masked_assignment(x, mask, y):
    x[mask] = y
    return x
