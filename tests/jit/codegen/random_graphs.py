"""Random graphs of elementwise operations, reductions, views and products, with arguments for them."""

import random
from typing import Any

import numpy as np
from ingot.ir.builder import Builder
from ingot.ir.core import Value
from ingot.ir.dtypes import float32
from ingot.ir.ops._op import F
from ingot.ir.symbolic import SymbolicTensor, building
from ingot.ir.types import TensorType
from lowering_cases import Case

SIZES = (0, 1, 2, 3, 5, 7, 17)
_UNARY = ("neg", "abs", "tanh", "sigmoid", "exp", "relu", "square", "sin", "sign", "floor")
_BINARY = ("add", "sub", "mul", "maximum", "minimum")


def _shape_of(builder: Builder, x: Any) -> tuple[int, ...]:
    found = tuple(builder.sizes.hint(d) for d in x.shape)
    assert None not in found
    return found  # type: ignore[return-value]


def random_case(seed: int, *, symbolic: bool = True, steps: int = 14) -> Case:
    """A graph of about `steps` operations on a few arguments that share their sizes."""
    choose = random.Random(seed)
    data = np.random.default_rng(seed)
    builder = Builder(f"random_{seed}")
    sizes = [choose.choice(SIZES) for _ in range(3)]
    if choose.random() < 0.8:
        sizes = [max(s, 1) for s in sizes]
    dims = [builder.sizes.fresh(hint=s) if symbolic else s for s in sizes]
    arguments: list[np.ndarray[Any, Any]] = []
    values: list[Any] = []
    for i in range(choose.randint(1, 3)):
        rank = choose.randint(0, 3)
        picks = [choose.randrange(3) for _ in range(rank)]
        shape = tuple(1 if choose.random() < 0.2 else dims[p] for p in picks)
        concrete = tuple(1 if s == 1 and isinstance(s, int) else sizes[p] for s, p in zip(shape, picks, strict=True))
        array = data.standard_normal(concrete).astype(np.float32)
        if array.size and choose.random() < 0.1:
            array.flat[choose.randrange(array.size)] = choose.choice([np.nan, np.inf, -np.inf])
        arguments.append(array)
        values.append(SymbolicTensor(builder, builder.argument(f"x{i}", TensorType(float32, shape))))
    made: list[Any] = []
    with building(builder):
        for _ in range(steps):
            try:
                value = _step(builder, choose, values)
            except (RuntimeError, IndexError, ZeroDivisionError):
                continue
            if value is not None and np.prod(_shape_of(builder, value), dtype=float) <= 5000:
                values.append(value)
                made.append(value)
    outputs: list[Value] = [v.value for v in choose.sample(made, min(len(made), 2))]
    outputs += [made[-1].value] if made else [values[0].value]
    builder.return_(list(dict.fromkeys(outputs)))
    return Case(builder.finish(), arguments)


def _step(builder: Builder, choose: random.Random, values: list[Any]) -> Any:
    x = choose.choice(values[-5:])
    shape = _shape_of(builder, x)
    rank = x.ndim
    kind = choose.choice(
        ("unary", "binary", "binary", "reduce", "view", "view", "softmax", "matmul", "cat", "where", "write")
    )
    if kind == "unary":
        return getattr(F, choose.choice(_UNARY))(x)
    if kind == "binary":
        other = choose.choice([*values, 0.5, 2.0])
        return getattr(F, choose.choice(_BINARY))(x, other)
    if kind == "where":
        other = choose.choice(values)
        return F.where(F.gt(x, 0.0), x, other)
    if rank == 0:
        return None
    axis = choose.randrange(rank)
    if kind == "reduce":
        dims = tuple(sorted(choose.sample(range(rank), choose.randint(1, rank))))
        name = choose.choice(("sum", "mean", "amax", "amin"))
        if name[0] == "a" and 0 in shape:
            return None
        return getattr(F, name)(x, dims, choose.random() < 0.6)
    if kind == "softmax":
        return F.softmax(x, axis) if 0 not in shape else None
    if kind == "write":
        part = F.mul(F.slice(x, 0, 1, dim=axis), 2.0)
        return F.slice_scatter(x, part, 0, 1, dim=axis)
    if kind == "cat":
        return F.cat((x, choose.choice(values)) if choose.random() < 0.5 else (x, x), axis)
    if kind == "matmul":
        other = choose.choice(values)
        return F.matmul(x, F.transpose(other, -1, -2) if other.ndim > 1 and choose.random() < 0.5 else other)
    view = choose.choice(("transpose", "unsqueeze", "flatten", "slice", "flip", "select", "expand", "permute"))
    match view:
        case "transpose":
            return F.transpose(x, axis, choose.randrange(rank))
        case "unsqueeze":
            return F.unsqueeze(x, choose.randint(0, rank)) if rank < 4 else None
        case "flatten":
            return F.flatten(x, 0, axis)
        case "slice":
            return F.slice(x, choose.randint(0, 2), None, dim=axis, step=choose.randint(1, 2))
        case "flip":
            return F.flip(x, (axis,))
        case "select":
            return F.select(x, 0, dim=axis) if shape[axis] else None
        case "expand":
            return F.expand(F.unsqueeze(x, 0), (3, *x.shape)) if rank < 4 else None
    order = list(range(rank))
    choose.shuffle(order)
    return F.permute(x, tuple(order))
