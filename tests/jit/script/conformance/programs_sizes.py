"""Lists and dicts that grow at run time and hold tensors of different sizes."""

# The programs are as people write them, odd ones included.
# ruff: noqa

from typing import Optional

import ingot
from conformance_table import accept, reject

v = ingot.tensor([1.0, -2.0, 3.0, 0.5, -1.5])
m = ingot.tensor([[0.5, -1.0, 2.0], [1.5, 0.25, -0.5], [3.0, 1.0, -2.0], [0.0, 1.0, 1.0]])


@accept("lists of tensors", (v, 3), (v, 1))
def tensors_of_different_sizes(x, n: int):
    outs: list[ingot.Tensor] = []
    for i in range(n):
        outs.append(x[: i + 1])
    return ingot.cat(outs), outs


@accept("lists of tensors", ([ingot.ones(2), ingot.ones(3)], 2), ([ingot.ones(2), ingot.ones(2)], 1))
def grows_different_tensors(xs: list[ingot.Tensor], n: int):
    for i in range(n):
        xs.append(xs[0] * i)
    return xs


@accept("lists of tensors", (v, 4, 2), (v, 4, -1), (v, 2, 5))
def reads_different_tensors(x, n: int, k: int):
    outs = [x]
    for i in range(n):
        outs.append(x[i:])
    outs[0] = outs[k][:1]
    total = x.sum() * 0
    for out in outs:
        total = total + out.mean() * len(out)
    return outs[k] + 1, outs[k].shape[0], total, len(outs)


@accept("lists of tensors", (m, ingot.ones(3, 2), 3), slow=True)
def joins_different_tensors(x, w, n: int):
    rows: list[ingot.Tensor] = []
    for i in range(n):
        rows.append(x[: i + 1] if i % 2 == 0 else x[i:])
    return ingot.cat(rows) @ w, ingot.cat(rows[1:] + rows, dim=0).shape[0], ingot.stack([r.sum() for r in rows])


@accept("lists of tensors", (v, 4), shown=False)
def methods_of_lists_of_different_tensors(x, n: int):
    outs: list[ingot.Tensor] = []
    for i in range(n):
        outs.append(x[: (i * 3) % n + 1])
    outs.sort(key=lambda t: -t.shape[0])
    last = outs.pop()
    outs.insert(1, x)
    outs.reverse()
    both = outs + [last]
    both.extend(outs[::2])
    both[1:3] = [last]
    del both[0:1]
    return outs, last, both, [t.shape[0] for t in both]


@accept("lists of tensors", (v, 5), shown=False)
def writes_different_tensors(x, n: int):
    outs: list[ingot.Tensor] = []
    for i in range(n):
        outs.append(x.clone())
    for i in range(len(outs)):
        outs[i] = outs[i][:i] if i % 2 else outs[i] * 2
    pairs = [ingot.cat([a, b]) for a, b in zip(outs, outs[1:])]
    return outs, pairs


@accept("lists of tensors", (v,), (v[:1],), shown=False)
def shrinks_by_its_own_elements(x):
    outs = [x]
    while outs[-1].shape[0] > 1:
        outs.append(outs[-1][1:] * 2)
    return outs, len(outs)


@accept("lists of tensors", (m, 3), shown=False)
def tensors_that_differ_in_two_sizes(x, n: int):
    outs: list[ingot.Tensor] = []
    total = 0.0
    for i in range(n):
        outs.append(x[: i + 1, : n - i])
    for out in outs:
        total += out.sum().item()
    return outs, total


@accept("lists of tensors", (v, 3), shown=False)
def lists_of_lists_of_different_tensors(x, n: int):
    outer: list[list[ingot.Tensor]] = []
    for i in range(n):
        inner: list[ingot.Tensor] = []
        for j in range(i + 1):
            inner.append(x[: j + 1])
        outer.append(inner)
    outer[0].append(x)
    return outer, ingot.cat(outer[n - 1])


@accept("lists of tensors", (v, 3), shown=False)
def tuples_with_different_tensors(x, n: int):
    pairs: list[tuple[int, ingot.Tensor]] = []
    for i in range(n):
        pairs.append((i, x[: i + 1]))
    total = 0.0
    for i, part in pairs:
        total += i * part.sum().item()
    return pairs, total


@accept("lists of tensors", (v, 4), shown=False)
def different_tensors_or_none(x, n: int):
    parts: list[Optional[ingot.Tensor]] = []
    for i in range(n):
        if i % 2:
            parts.append(None)
        else:
            parts.append(x[: i + 1])
    total = 0.0
    for part in parts:
        if part is not None:
            total += part.sum().item()
    best = parts[1]
    for k in range(len(parts)):
        part = parts[k]
        if best is None or (part is not None and part.shape[0] > best.shape[0]):
            best = part
            parts[k] = None
    return parts, total, best


@accept("lists of tensors", (v, 4), shown=False)
def pairs_with_different_tensors_or_none(x, n: int):
    pairs: list[Optional[tuple[int, ingot.Tensor]]] = []
    for i in range(n):
        pairs.append((i, x[:i]) if i % 2 else None)
    total = 0.0
    for pair in pairs:
        if pair is not None:
            total += pair[0] * pair[1].sum().item()
    return pairs, total


@accept("dicts with keys known at run time", (v, 3))
def dicts_of_different_tensors(x, n: int):
    found: dict[int, ingot.Tensor] = {}
    for i in range(n):
        found[i] = x[: i + 1]
    scaled = [value * key for key, value in found.items()]
    return scaled, found[1] + 1, found.pop(0)


@reject(
    "lists of tensors",
    "elements of different types: f32[s0] and i64[s1]",
    marked="for",
    arguments=([ingot.ones(2), ingot.arange(3)], 2),
    hint="the same type, with the same number of dimensions",
)
def grows_tensors_of_different_dtypes(xs: list[ingot.Tensor], n: int):
    for i in range(n):
        xs.append(xs[0] * i)
    return xs
