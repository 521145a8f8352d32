"""Random graphs of elementwise operations, reductions, views and products, with arguments for them."""

import random
from typing import Any

import numpy as np
from ingot.ir.builder import Builder
from ingot.ir.core import Block, Value
from ingot.ir.dtypes import float32
from ingot.ir.ops._op import F
from ingot.ir.symbolic import SymbolicTensor, building
from ingot.ir.types import IntType, TensorType
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


# -- control flow ----------------------------------------------------------------------------------------------------


_MATRIX_STEPS = ("add", "sub", "maximum", "matmul", "tanh", "cumsum", "softmax", "transpose", "flip", "write")


def random_program(seed: int) -> Case:
    """A graph with loops and branches, nested twice, that carry a few square matrices in every possible way."""
    choose = random.Random(seed)
    data = np.random.default_rng(seed)
    builder = Builder(f"program_{seed}")
    size = choose.choice((1, 2, 3, 5))
    n = builder.sizes.fresh(hint=size)
    type = TensorType(float32, (n, n))
    arguments: list[Any] = [data.standard_normal((size, size)).astype(np.float32) for _ in range(2)]
    values = [builder.argument(f"x{i}", type) for i in range(2)]
    trips = builder.argument("t", IntType())
    arguments.append(choose.randint(0, 4))
    true = builder.constant(True)
    two, zero = builder.constant(2), builder.constant(0)

    def operation(known: list[Value]) -> Value:
        a, b = (choose.choice(known[-6:]) for _ in range(2))
        kind = choose.choice(
            ("add", "sub", "maximum", "matmul", "tanh", "cumsum", "softmax", "transpose", "flip", "write")
        )
        if kind in ("add", "sub", "maximum"):
            return builder.emit(kind, a, b)
        if kind == "matmul":
            return builder.emit("tanh", builder.emit("matmul", a, b))
        if kind == "tanh":
            return builder.emit("tanh", a)
        with building(builder):
            x, y = SymbolicTensor(builder, a), SymbolicTensor(builder, b)
            result = {
                "cumsum": lambda: F.tanh(F.cumsum(x, 0)),
                "softmax": lambda: F.softmax(x, 1),
                "transpose": lambda: F.transpose(x, 0, 1),
                "flip": lambda: F.flip(x, (0,)),
                "write": lambda: F.slice_scatter(x, F.slice(y, 0, 1, dim=0), 0, 1, dim=0),
            }[kind]()
        value: Value = result.value
        return value

    def fill(known: list[Value], counter: Value | None, depth: int) -> list[Value]:
        known = list(known)
        for _ in range(choose.randint(1, 4)):
            kind = choose.random()
            if depth < 2 and kind < 0.2 and counter is not None:
                known += branch(known, counter, depth)
            elif depth < 2 and kind < 0.4:
                known += loop(known, depth)
            else:
                known.append(operation(known))
        return known

    def region(argument_types: tuple[Any, ...], make: Any) -> Block:
        block = Block(argument_types)
        with builder.inside(block):
            make(block)
        return block

    def branch(known: list[Value], counter: Value, depth: int) -> list[Value]:
        remainder = builder.emit("scalar.mod", counter, two)
        condition = builder.emit("scalar.eq", remainder, zero)
        sides = [
            region((), lambda block: builder.yield_(choose.sample(fill(known, counter, depth + 1), 2)))
            for _ in range(2)
        ]
        return builder.emit_all("if", [condition], regions=sides, result_types=(type, type))

    def loop(known: list[Value], depth: int) -> list[Value]:
        carried = [choose.choice(known) for _ in range(choose.randint(1, 3))]

        def make(block: Block) -> None:
            inside = fill([*known, *block.arguments[1:]], block.arguments[0], depth + 1)
            following = [choose.choice([*inside[-5:], *block.arguments[1:]]) for _ in carried]
            builder.yield_([true, *following])

        body = region((IntType(), *(type for _ in carried)), make)
        return builder.emit_all(
            "loop", [trips, true, *carried], regions=[body], result_types=tuple(type for _ in carried)
        )

    known = fill(values, None, 0)
    known += loop(known, 0)
    known = fill(known, None, 1)
    outputs = list(dict.fromkeys(choose.sample(known[2:], min(3, len(known) - 2))))
    builder.return_(outputs)
    return Case(builder.finish(), arguments)
