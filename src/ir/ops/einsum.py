"""Einstein summation, and the batched products that it is made of."""

from typing import Any

import numpy as np

from ..dims import Dim, product
from ..dtypes import DType, int64, result_dtype
from ..sizes import Sizes
from ..types import TensorType
from ._common import array_dtype, cast, randoms, require_tensor, same_device, sum_to
from ._op import Decompose, ErrorSample, F, Sample, VjpContext, define

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def parse_equation(equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """The labels of each operand and of the result, with `...` spelled out; RuntimeError where it makes no sense."""
    text = equation.replace(" ", "")
    inputs, arrow, output = text.partition("->")
    terms = inputs.split(",")
    if len(terms) != len(ranks):
        raise RuntimeError(
            f"einsum(): the equation {equation!r} has {len(terms)} operands, but {len(ranks)} were given"
        )
    letters = set(text) - set(",->.")
    if not all(c.isalpha() and c.isascii() for c in letters):
        raise RuntimeError(f"einsum(): labels must be letters, given {equation!r}")
    extra = 0
    for term, rank in zip(terms, ranks, strict=True):
        named = len(term.replace("...", ""))
        if "." in term.replace("...", "", 1) or named > rank or (named < rank and "..." not in term):
            raise RuntimeError(
                f"einsum(): the labels {term!r} of {equation!r} do not fit an operand of {rank} dimensions"
            )
        extra = max(extra, rank - named if "..." in term else 0)
    ellipsis = [c for c in _LETTERS if c not in letters][:extra]
    if len(ellipsis) < extra:
        raise RuntimeError(f"einsum(): too many labels in {equation!r}")

    def spell(term: str, rank: int) -> str:
        count = rank - len(term.replace("...", ""))
        return term.replace("...", "".join(ellipsis[extra - count :]))

    labels = [spell(term, rank) for term, rank in zip(terms, ranks, strict=True)]
    used = "".join(labels)
    if not arrow:
        output = "".join(ellipsis) + "".join(sorted(c for c in letters if used.count(c) == 1))
    else:
        output = output.replace("...", "".join(ellipsis))
    if "." in output or len(set(output)) != len(output) or not set(output) <= set(used):
        raise RuntimeError(f"einsum(): each output label must occur once, and in an operand, given {equation!r}")
    return labels, output


def _infer_einsum(sizes: Sizes, operands: tuple[Any, ...], *, equation: str) -> TensorType:
    types = [require_tensor("einsum", "operands", t) for t in operands]
    if not types:
        raise RuntimeError("einsum(): must provide at least one operand")
    labels, output = parse_equation(equation, [t.rank for t in types])
    extents: dict[str, Dim] = {}
    for term, t in zip(labels, types, strict=True):
        for label, size in zip(term, t.shape, strict=True):
            known = extents.get(label, size)
            message = f"einsum(): the label {label!r} of {equation!r} has sizes {known} and {size}"
            extents[label] = sizes.broadcast(known, size, message)
    dtype = result_dtype([t.dtype for t in types if t.shape], [t.dtype for t in types if not t.shape])
    dtype = _summed_dtype(dtype, labels, output)
    return TensorType(dtype, tuple(extents[label] for label in output), same_device("einsum", operands))


def _summed_dtype(dtype: DType, labels: Any, output: str) -> DType:
    """The dtype of the result: integers of a lone operand that are summed give int64, as sums do."""
    summed = len(labels) == 1 and not set(labels[0]) <= set(output)
    return int64 if summed and dtype.category < 2 else dtype


def _evaluate_einsum(xp: Any, operands: tuple[Any, ...], *, equation: str) -> Any:
    labels, output = parse_equation(equation, [a.ndim for a in operands])
    dtype = result_dtype([array_dtype(a) for a in operands if a.ndim], [array_dtype(a) for a in operands if not a.ndim])
    dtype = _summed_dtype(dtype, labels, output)
    arrays = [cast(xp, a, dtype) for a in operands]
    if dtype.numpy == np.float16:
        arrays = [a.astype(np.float32) for a in arrays]
    with np.errstate(all="ignore"):
        value = xp.einsum(f"{','.join(labels)}->{output}", *arrays, optimize=len(arrays) > 2)
    return xp.array(value, dtype.numpy, copy=None)


# -- as products of matrices -------------------------------------------------------------------------------------------


def _simplify(x: Any, labels: str, kept: set[str]) -> tuple[Any, str]:
    """The operand with repeated labels made diagonals and labels that nothing else uses summed over."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            x = F.diagonal(x, 0, first, second)
            labels = labels[:first] + labels[first + 1 : second] + labels[second + 1 :] + label
    lone = tuple(i for i, label in enumerate(labels) if label not in kept)
    if lone:
        x = F.sum(x, lone, dtype=x.dtype)
        labels = "".join(label for label in labels if label in kept)
    return x, labels


def _arrange(x: Any, labels: str, wanted: str) -> Any:
    """The operand with its dimensions in the wanted order, those it lacks put in with size 1."""
    present = [label for label in wanted if label in labels]
    x = F.permute(x, tuple(labels.index(label) for label in present)) if labels != "".join(present) else x
    for axis, label in enumerate(wanted):
        if label not in labels:
            x = F.unsqueeze(x, axis)
    return x


def _contract(a: Any, a_labels: str, b: Any, b_labels: str, kept: set[str]) -> tuple[Any, str]:
    """The product of two operands, summed over the labels that are not kept."""
    sizes_a, sizes_b = dict(zip(a_labels, a.shape, strict=True)), dict(zip(b_labels, b.shape, strict=True))
    shared = [label for label in a_labels if label in sizes_b]
    if any(sizes_a[s] != sizes_b[s] for s in shared) or a.dtype is not b.dtype:
        # A size of 1 is broadcast: multiply, then sum.
        labels = a_labels + "".join(label for label in b_labels if label not in sizes_a)
        value = F.mul(_arrange(a, a_labels, labels), _arrange(b, b_labels, labels))
        return _simplify(value, labels, kept)
    batch = "".join(s for s in shared if s in kept)
    inner = "".join(s for s in shared if s not in kept)
    rows = "".join(label for label in a_labels if label not in sizes_b)
    columns = "".join(label for label in b_labels if label not in sizes_a)

    def size(labels: str) -> Dim:
        return product([sizes_a.get(label, sizes_b.get(label, 1)) for label in labels])

    left = F.reshape(_arrange(a, a_labels, batch + rows + inner), (size(batch), size(rows), size(inner)))
    right = F.reshape(_arrange(b, b_labels, batch + inner + columns), (size(batch), size(inner), size(columns)))
    labels = batch + rows + columns
    return F.reshape(F.matmul(left, right), tuple(size(label) for label in labels)), labels


def _decompose_einsum(operands: tuple[Any, ...], *, equation: str) -> Any:
    labels, output = parse_equation(equation, [x.ndim for x in operands])
    dtype = result_dtype([x.dtype for x in operands if x.ndim], [x.dtype for x in operands if not x.ndim])
    dtype = _summed_dtype(dtype, labels, output)
    pending = list(labels)

    def kept(after: int, *others: str) -> set[str]:
        return set(output).union(*pending[after:], *others)

    x = F.cast(operands[0], dtype=dtype) if operands[0].dtype is not dtype else operands[0]
    x, current = _simplify(x, labels[0], kept(1))
    for i, operand in enumerate(operands[1:], 1):
        y = F.cast(operand, dtype=dtype) if operand.dtype is not dtype else operand
        y, other = _simplify(y, labels[i], kept(i + 1, current))
        x, current = _contract(x, current, y, other, kept(i + 1))
    return _arrange(x, current, output)


def _conjugate(x: Any) -> Any:
    return F.conj(x) if x.dtype.is_complex else x


def _einsum_vjp(c: VjpContext, g: Any, operands: tuple[Any, ...], *, equation: str) -> tuple[tuple[Any, ...]]:
    """For each operand: the gradient times all the others, summed to the operand's labels.

    A label repeated in the operand becomes two, tied by an identity matrix; one that occurs nowhere else was summed
    away, and its gradient is repeated.
    """
    labels, output = parse_equation(equation, [x.ndim for x in operands])
    fresh = iter(label for label in _LETTERS if label not in "".join(labels))
    gradients: list[Any] = []
    for i, x in enumerate(operands):
        if not c.needs[0][i]:
            gradients.append(None)
            continue
        factors = [(g, output), *((_conjugate(y), labels[j]) for j, y in enumerate(operands) if j != i)]
        wanted = ""
        for label, size in zip(labels[i], x.shape, strict=True):
            if label in wanted:
                other = next(fresh)
                factors.append((F.eye(size, dtype=x.dtype), label + other))
                label = other
            wanted += label
        available = set("".join(term for _, term in factors))
        target = "".join(label for label in wanted if label in available)
        equation_back = f"{','.join(term for _, term in factors)}->{target}"
        value = F.einsum(equation_back, *(factor for factor, _ in factors))
        if len(target) < len(wanted):
            value = F.expand(_arrange(value, target, wanted), tuple(x.shape))
        value = sum_to(value, x)
        gradients.append(value if value.dtype is x.dtype else F.cast(value, dtype=x.dtype))
    return (tuple(gradients),)


EINSUM = define(
    "einsum(equation: str, *operands: Tensors)",
    "Products of operands summed over the labels that the result lacks: 'ij,jk->ik' is a matrix product.\n\n"
    ">>> ingot.einsum('i,i->', ingot.tensor([1., 2.]), ingot.tensor([3., 4.]))\ntensor(11.)",
    infer=_infer_einsum,
    evaluate=_evaluate_einsum,
    vjp=_einsum_vjp,
    lower=Decompose(_decompose_einsum),
    public=("",),
    samples=lambda: [
        Sample(("ij,jk->ik", randoms(3, 4), randoms(4, 2, seed=1))),
        Sample(("bij,bjk", randoms(2, 3, 4), randoms(2, 4, 2, seed=1))),
        Sample(("ii->i", randoms(3, 3))),
        Sample(("ii", randoms(3, 3))),
        Sample(("i,j->ji", randoms(3), randoms(2, seed=1))),
        Sample(("...ij->...ji", randoms(2, 3, 4))),
        Sample(("b...c,...cd->b...d", randoms(2, 3, 4), randoms(1, 4, 2, seed=1))),
        Sample(("ij->", randoms(3, 4))),
        Sample(("ij,ik->k", randoms(3, 4), randoms(3, 2, seed=1))),
        Sample(("ij,jk,kl->il", randoms(2, 3), randoms(3, 4, seed=1), randoms(4, 2, seed=2))),
        Sample(("ijj,jk->ik", randoms(2, 3, 3), randoms(3, 2, seed=1))),
        Sample(("i,i->", randoms(0), randoms(0))),
    ],
    errors=lambda: [
        ErrorSample(("ij,jk->ik", randoms(3, 4), randoms(3, 2)), RuntimeError, "'j'.* sizes 4 and 3"),
        ErrorSample(("ij->k", randoms(3, 4)), RuntimeError, "output label"),
        ErrorSample(("ij", randoms(3)), RuntimeError, "do not fit"),
        ErrorSample(("ij,jk", randoms(3, 4)), RuntimeError, "2 operands, but 1"),
        ErrorSample(("i1->i", randoms(3, 4)), RuntimeError, "letters"),
    ],
)
