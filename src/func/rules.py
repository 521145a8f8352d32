"""How an op is said for a whole batch: derived from the op's record where that tells it, by a rule of its own else.

A rule gets the mode, the operands (one per operand parameter) and the attributes; it returns results with the batch in
front, in ops of the level below, or NotImplemented. What has no rule runs once per sample, with a warning.
"""

import warnings
from typing import Any

from ..eager import modes
from ..eager.dispatch import dispatch
from ..eager.functions import call
from ..eager.tensor import Tensor
from ..ir.ops._common import promoted
from ..ir.ops._op import Decompose, Elementwise, Op, Reduce, Trait
from ..ir.ops._reduced import type_of
from ..ir.ops.schema import Role
from ..ir.sizes import STATIC
from ..ir.types import TensorType
from .batching import BatchMode
from .batching_rules import RULES

__all__ = ["run_batched"]

_DIMS = ("dim", "dims", "dim0", "dim1", "dim2", "dimension", "start_dim", "end_dim")


def run_batched(mode: BatchMode, op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    """Run one op of a mapped function."""
    if Trait.RANDOM in op.traits:
        return _random(mode, op, operands, attributes)
    if not any(_any_mine(mode, operand) for operand in operands):
        return mode.outside(op, operands, attributes)
    if op.name == "item":
        mode.baked("item", operands[0])
    rule = RULES.get(op.name)
    if rule is None and isinstance(op.lower, Decompose):
        return op.lower.function(*operands, **attributes)  # in ops that come here again
    with modes.use_mode(mode.outer):
        results = NotImplemented
        for attempt in (rule,) if rule is not None else (_pointwise, _along_dims, _leading):
            results = attempt(mode, op, operands, attributes)
            if results is not NotImplemented:
                break
        if results is NotImplemented:
            results = _per_sample(mode, op, operands, attributes)
        return mode.wrapped(results)


def _any_mine(mode: BatchMode, operand: Any) -> bool:
    if operand.__class__ is tuple:
        return any(mode.mine(item) for item in operand)
    return mode.mine(operand)


# -- derived from records --------------------------------------------------------------------------------------------


def _pointwise(mode: BatchMode, op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    """Elementwise ops: the samples' dimensions are aligned from the right, the batch stays in front."""
    if not isinstance(op.lower, Elementwise):
        roles = {p.role for p in op.schema.operands}
        if roles != {Role.OPERAND} or op.name in _NOT_POINTWISE:
            return NotImplemented
    return pointwise(mode, op, operands, attributes)


_NOT_POINTWISE = frozenset({"isin"})  # its second operand is a set


def pointwise(mode: BatchMode, op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    """An op that broadcasts its operands, run on all samples."""
    rank = max(o.ndim for o in operands if isinstance(o, Tensor))
    types = tuple([_logical_type(o, p.role) for o, p in zip(operands, op.schema.operands, strict=True)])
    numbers = tuple([t for t, p in zip(types, op.schema.operands, strict=True) if p.role is Role.OPERAND])
    common = promoted(numbers) if len(numbers) > 1 else None
    aligned: list[Any] = []
    for operand, parameter in zip(operands, op.schema.operands, strict=True):
        if not mode.mine(operand):
            aligned.append(operand)
            continue
        value = _aligned(operand.value, rank + 1)
        # A sample of rank 0 takes part in promotion as such; with its batch it would as a vector.
        if common is not None and not operand.ndim and parameter.role is Role.OPERAND and value.dtype is not common:
            value = call("cast", value, dtype=common)
        aligned.append(value)
    return dispatch(op, tuple(aligned), attributes)


def _logical_type(value: Any, role: Role) -> Any:
    if isinstance(value, Tensor):
        return TensorType(value.dtype, tuple(value.shape))
    if value.__class__ is tuple:
        return tuple([_logical_type(v, role) for v in value])
    return type_of(value, role)


def _along_dims(mode: BatchMode, op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    """Ops of one tensor with dimensions among their attributes: those move by one."""
    named = [name for name in _DIMS if name in attributes]
    first = operands[0]
    if not named or not mode.mine(first) or any(isinstance(o, Tensor) or o.__class__ is tuple for o in operands[1:]):
        return NotImplemented
    rank = first.ndim
    if not rank:  # as a vector of one element
        alone = attributes | {name: (1,) if isinstance(attributes[name], tuple) else 1 for name in named}
        results = dispatch(op, (call("unsqueeze", first.value, 1), *operands[1:]), alone)
        several = isinstance(results, tuple)
        flat = tuple([call("reshape", r, (mode.size,)) for r in (results if several else (results,))])
        return flat if several else flat[0]
    moved = dict(attributes)
    for name in named:
        dims = attributes[name]
        if dims is None or (dims == () and isinstance(op.lower, Reduce)):
            if not isinstance(op.lower, Reduce):
                return NotImplemented
            moved[name] = tuple(range(1, rank + 1))
        elif isinstance(dims, tuple):
            moved[name] = tuple([d + 1 if d >= 0 else d for d in dims])
        else:
            moved[name] = dims + 1 if dims >= 0 else dims
    return _checked(mode, op, operands, attributes, (first.value, *operands[1:]), moved)


def _leading(mode: BatchMode, op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    """Ops that take any number of dimensions in front, as those on matrices do."""
    if any(name in attributes for name in _DIMS) or op.name in _NOT_POINTWISE:
        return NotImplemented
    if any(o.__class__ is tuple and any(isinstance(item, Tensor) for item in o) for o in operands):
        return NotImplemented
    fronts = [mode.front(o) for o in operands]
    ranks = {o.ndim for o in operands if isinstance(o, Tensor)}
    if len(ranks) > 1:  # dimensions in front are broadcast: the batch must not meet one of them
        rank = max(ranks)
        aligned = tuple([_aligned(f, rank + 1) if isinstance(f, Tensor) else f for f in fronts])
        found = _checked(mode, op, operands, attributes, aligned, attributes)
        if found is not NotImplemented or op.name not in _VECTORS:
            return found
    return _checked(mode, op, operands, attributes, tuple(fronts), attributes)


# Whose second operand may be vectors, known by their rank.
_VECTORS = frozenset({"ldl_solve", "solve", "lu_solve"})


def _aligned(value: Any, rank: int) -> Any:
    """The tensor with dimensions of size 1 after the batch, so that it has this rank."""
    shape = tuple(value.shape)
    return call("reshape", value, (shape[0], *(1,) * (rank - len(shape)), *shape[1:]))


def _checked(
    mode: BatchMode,
    op: Op,
    operands: tuple[Any, ...],
    attributes: dict[str, Any],
    moved: tuple[Any, ...],
    moved_attributes: dict[str, Any],
) -> Any:
    """The op on what was derived, if its results have the types of one sample's with the batch in front."""
    parameters = op.schema.operands
    sample = tuple([_logical_type(o, p.role) for o, p in zip(operands, parameters, strict=True)])
    whole = tuple([_logical_type(o, p.role) for o, p in zip(moved, parameters, strict=True)])
    expected = op.infer_types(STATIC, sample, attributes)  # raises what one sample's call would
    try:
        found = op.infer_types(STATIC, whole, moved_attributes)
    except (RuntimeError, TypeError, ValueError, IndexError):
        return NotImplemented
    for one, all_ in zip(expected, found, strict=True):
        if not isinstance(one, TensorType) or not isinstance(all_, TensorType):
            return NotImplemented
        if all_.dtype is not one.dtype or tuple(all_.shape) != (mode.size, *one.shape):
            return NotImplemented
    return dispatch(op, moved, moved_attributes)


# -- without a rule ----------------------------------------------------------------------------------------------------


def _per_sample(mode: BatchMode, op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    warnings.warn(
        f"There is a performance drop because there is no batching rule for {op.name}: vmap runs it once per sample.",
        stacklevel=2,
    )
    return _sample_by_sample(mode, op, operands, attributes)


def _sample_by_sample(mode: BatchMode, op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    results = []
    for i in range(mode.size):
        sample = tuple([_sample_of(mode, operand, i) for operand in operands])
        results.append(dispatch(op, sample, attributes))
    if not results:
        raise RuntimeError(f"vmap: {op.name} has no batching rule, and an empty batch has no sample to run it on")
    if isinstance(results[0], tuple):
        return tuple([call("stack", list(column), 0) for column in zip(*results, strict=True)])
    return call("stack", results, 0)


def _sample_of(mode: BatchMode, operand: Any, i: int) -> Any:
    if operand.__class__ is tuple:
        return tuple([_sample_of(mode, item, i) for item in operand])
    return call("select", operand.value, i, dim=0) if mode.mine(operand) else operand


_RANDOM_ERROR = (
    "vmap: called random operation while in randomness error mode. Please either use the 'same' or 'different' "
    "randomness flags on vmap or perform the randomness operation out of vmap"
)


def _random(mode: BatchMode, op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    """Draws: refused, the same for all samples, or others for each, as `vmap` was told."""
    if op.name in _STREAM:
        return mode.outside(op, operands, attributes)
    if mode.randomness == "error":
        raise RuntimeError(_RANDOM_ERROR)
    roles = [p.role for p in op.schema.operands]
    batched = any(_any_mine(mode, operand) for operand in operands)
    if mode.randomness == "same":
        if not batched:
            return mode.outside(op, operands, attributes)
        if op.name == "bernoulli":
            (p,) = operands
            with modes.use_mode(mode.outer):
                draws = call("rand", tuple(p.shape), dtype=p.dtype)
            return call("cast", call("lt", draws, p), dtype=p.dtype)
        if isinstance(op.lower, Decompose):  # its draws are those of one sample
            return op.lower.function(*operands, **attributes)
        raise RuntimeError(
            f"vmap: {op.name} of a tensor that differs between samples cannot draw the same numbers for all of them: "
            "use randomness='different'"
        )
    with modes.use_mode(mode.outer):
        if Role.SIZE in roles:
            place = roles.index(Role.SIZE)
            sizes = (*operands[:place], (mode.size, *operands[place]), *operands[place + 1 :])
            return mode.wrapped(dispatch(op, sizes, attributes))
        if any(isinstance(operand, Tensor) for operand in operands):
            fronts = tuple([mode.front(operand) for operand in operands])
            results = _checked(mode, op, operands, attributes, fronts, attributes)
            if results is not NotImplemented:
                return mode.wrapped(results)
        return mode.wrapped(_sample_by_sample(mode, op, operands, attributes))


# What random ops are made of: the place in the stream of numbers, and the numbers from there.
_STREAM = frozenset({"take_random", "random_bits"})
