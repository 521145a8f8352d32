"""Whole programs, one per idea, each the same in Python and compiled."""

# The programs are as people write them, odd ones included.
# ruff: noqa: B007, F841, RUF059

import math
from collections.abc import Callable
from typing import Any

import ingot
import pytest
from ingot.nn import functional as F

v = ingot.tensor([1.0, 2.0, 3.0])
m = ingot.arange(12.0).reshape(3, 4)
PROGRAMS: list[tuple[Callable[..., Any], tuple[tuple[Any, ...], ...]]] = []


def program(*calls: tuple[Any, ...]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        PROGRAMS.append((function, calls))
        return function

    return add


@program((v, 3), (v, 0))
def size_equal_to_a_number(x: Any, n: Any) -> Any:
    if x.shape[0] == n:
        return x + ingot.ones(n)
    return x


@program((v, ingot.ones(3)), (v, ingot.ones(4)), (ingot.ones(4), ingot.ones(4)))
def sizes_compared(x: Any, y: Any) -> Any:
    if x.shape[0] != y.shape[0]:
        return x.sum() - y.sum()
    return (x * y).sum()


@program((5,))
def loops_with_everything(n: Any) -> Any:
    x = 0
    while True:
        x += 1
        if x > n:
            break
        if x == 2:
            continue
        for i in range(x):
            if i == 3:
                break
        else:
            x += 1
    return x


@program((3,), (0,))
def lambdas_in_a_list(n: Any) -> Any:
    fs = []
    for k in (1, 2, 3):
        fs.append(lambda z, k=k: z * k)
    return [f(n) for f in fs]


@program((m,))
def best_row(x: Any) -> Any:
    best = x[0]
    for row in x:
        if row.sum() > best.sum():
            best = row
    return best


@program((m, 2), (m, 9))
def sum_from_none(x: Any, n: Any) -> Any:
    y = None
    for i in range(n):
        if i < x.shape[0]:
            y = x[i] if y is None else y + x[i]
    return y


@program((m, 1), (m, 5))
def row_by_number(x: Any, n: Any) -> Any:
    return x[n]


@program((7, 2), (7, 0), (-7, 2), (7, -2))
def divisions(a: Any, b: Any) -> Any:
    return a // b, a % b, a / b


@program((2, 3), (2, -1), (0, 0))
def number_functions(a: Any, b: Any) -> Any:
    return (
        divmod(a, 3),
        abs(-a),
        a**2,
        2.0**b,
        round(2.5),
        round(a * 1.5),
        int(2.9),
        float(a),
        bool(b),
        max(a, b, 1),
        min(a, b),
    )


@program((1.5,), (-0.5,), (float("nan"),))
def floats(x: Any) -> Any:
    import_ = x
    return x == x, x < 1, max(x, 0.0), max(0.0, x), min(x, 2), int(x) if x == x else 0, x // 0.3, x % 0.7, -x


@program((v,))
def functions_that_call_each_other(x: Any) -> Any:
    def f(a):
        if a.sum() > 100:
            return a
        return f2(a)

    def f2(a):
        return a * 2

    return f(x)


@program((m,))
def shapes_as_sequences(x: Any) -> Any:
    s = x.shape
    n, *rest = s
    return n, rest, s[-1], [d + 1 for d in s], sum(s), x.reshape(s[::-1]).shape, tuple(s), max(s)


@program((v, 1), (v, 2))
def dict_of_tensors(x: Any, mode: Any) -> Any:
    d = {1: x + 1, 2: x * 2}
    if mode == 1:
        r = d[1]
    else:
        r = d[2]
    return r


@program((m,))
def stacked_along_one(x: Any) -> Any:
    acc = []
    for i in range(3):
        acc.append(x[i] * i)
    return ingot.stack(acc, dim=1), len(acc)


@program((10,))
def sieve(n: Any) -> Any:
    sieve = [True] * n
    for i in range(2, n):
        if sieve[i]:
            for j in range(i * i, n, i):
                sieve[j] = False
    return [i for i in range(2, n) if sieve[i]]


@program((6,))
def multiplication_table(n: Any) -> Any:
    table = [[0] * n for _ in range(n)]
    for i in range(n):
        for j in range(n):
            table[i][j] = i * j
    return table


@program((v, 2.0), (v, 0.0))
def masked_and_shifted(x: Any, t: Any) -> Any:
    x = x.clone()
    x[x > t] = 0
    x[1:] = x[:-1]
    return x


@program((3,))
def text_built_in_a_loop(n: Any) -> Any:
    out = ""
    for i in range(n):
        out += str(i)
    return out


@program((v, True, None), (v, False, None), (v, True, 2.0))
def optional_scale(x: Any, flag: Any, scale: Any = None) -> Any:
    if scale is None:
        scale = 1.0
    if flag:
        x = x * scale
    return x


@program((m,))
def aliases_of_one_tensor(x: Any) -> Any:
    a = x.clone()
    b = a
    c = a[0:2]
    c[0] = 5
    b[1] += 1
    a = a * 2
    return a, b, c


@program((v, 0), (v, 2))
def return_inside_for_else(x: Any, n: Any) -> Any:
    for i in range(n):
        y = x * i
        if i == 1:
            return y
    else:
        y = x
    return y - 1


@program(
    (3,),
)
def targets_after_loops(n: Any) -> Any:
    i = 10
    for i in range(n):
        pass
    j = 0
    for j in range(0):
        pass
    return i, j


@program((1, 2), (2, 1))
def ordered_pair(a: Any, b: Any) -> Any:
    lo, hi = (a, b) if a < b else (b, a)
    return lo, hi


@program((4,))
def pair_in_a_list(n: Any) -> Any:
    a = [0, 1]
    for _ in range(n):
        a = [a[1], a[0] + a[1]]
    return a


@program((v,))
def inplace_returns_itself(x: Any) -> Any:
    y = x
    y = y.add_(1)
    y *= 2
    return x, y


@program((m,))
def columns_swapped(x: Any) -> Any:
    x = x.clone()
    x[:, 0], x[:, 1] = x[:, 1].clone(), x[:, 0].clone()
    x[0, ...] = ingot.tensor([1.0, 2.0, 3.0, 4.0])
    x[..., -1] = 0
    x[1][2] = 9
    x[1:][0][0] += 100
    return x


@program((m, 2), (m, 3))
def views_of_many_kinds(x: Any, n: Any) -> Any:
    t = x.unbind(0)
    tot = t[0]
    for q in t[1:]:
        tot = tot + q
    return (
        tot.view(2, 2),
        x.permute(1, 0).contiguous().view(-1),
        x.flatten()[n],
        x.expand(2, 3, 4).sum(0),
        x.squeeze(),
        x.unsqueeze(-1).shape,
    )


@program((True, False), (False, False))
def booleans(a: Any, b: Any) -> Any:
    return a and b, a or b, not a, a == b, a + b, a & b, a | b, a ^ b, int(a), 1 if a else 2, a < b


@program(
    (5, 3),
)
def bits(a: Any, b: Any) -> Any:
    return a & b, a | b, a ^ b, ~a, a << b, a >> 1, -a, +a, a != b, a is None, (a > b) + 1


@program(
    (v,),
)
def questions_about_types(x: Any) -> Any:
    if isinstance(x, ingot.Tensor) and x.dtype == ingot.float32 and hasattr(x, "shape"):
        return x, type(x) is ingot.Tensor, isinstance(1, (int, float)), callable(len), isinstance(None, int)
    return None


@program(
    (v, 3),
)
def conditional_update(x: Any, n: Any) -> Any:
    while n > 0:
        n -= 1
        x = x + 1 if n % 2 else x * 2
    assert x.sum() > -1e9, "too small"
    return x


@program(
    (m,),
)
def list_entries_alias_rows(x: Any) -> Any:  # list aliasing & tensors in lists
    xs = [x[0], x[1]]
    xs[0] += 1
    a = xs[0]
    a *= 2
    return xs, x


@program((m, True), (m, False))
def view_or_whole(x: Any, f: Any) -> Any:
    y = x.clone()
    if f:
        z = y
    else:
        z = y[0]
    return z + 1, y


@program(
    (v, 3),
)
def tensors_swapped_in_a_loop(x: Any, n: Any) -> Any:
    a = x
    b = x * 2
    for i in range(n):
        a, b = b, a + b
    return a, b


@program((v, 3), (v, 0))
def two_names_for_zeros(x: Any, n: Any) -> Any:
    h = ingot.zeros(3)
    c = h
    for i in range(n):
        h = h + x
        c = c * 2 + h
    return h, c


@program(
    (v, 2),
)
def buffer_written_by_rows(x: Any, n: Any) -> Any:
    buf = ingot.zeros(4, 3)
    for i in range(n):
        buf[i] = x * i
        buf[i + 1, 0] = 7
    return buf, buf[1:n]


@program(
    (3,),
)
def list_changed_by_index(n: Any) -> Any:
    xs = [1, 2, 3]
    for x in xs:
        n += x
    for i in range(len(xs)):
        xs[i] = xs[i] + n
    return xs


@program((3,), (0,))
def counts_in_a_dict(n: Any) -> Any:
    d = {"total": 0, "count": 0}
    for i in range(n):
        d["total"] += i
        d["count"] = d["count"] + 1
    return d


@program(
    (v, 3),
)
def state_in_a_dict(x: Any, n: Any) -> Any:
    state = {"h": x, "n": 0}
    for i in range(n):
        state["h"] = state["h"] * 2
        if i > 0:
            state["n"] += 1
    return state["h"], state["n"]


@program((5,), (1,))
def rows_summed(n: Any) -> Any:
    result = []
    for i in range(n):
        row = []
        for j in range(i):
            row.append(i * j)
        result.append(sum(row))
    return result


@program((5,), (1,))
def rows_of_different_length(n: Any) -> Any:
    rows = []
    for i in range(n):
        row = [i]
        for j in range(i):
            row.append(j)
        rows.append(row)
    return rows


@program((v, 2), (v, 5))
def while_with_two_ends(x: Any, n: Any) -> Any:
    try_ = 0
    while try_ < 3:
        try_ += 1
        if try_ == n:
            break
        x = x + try_
    return x, try_


@program(
    (v,),
)
def functions_as_arguments(x: Any) -> Any:
    def apply(f, *args, **kw):
        return f(*args, **kw)

    return apply(ingot.add, x, 2), apply(lambda a, b=3: a * b, x), apply(x.mul, 2), apply(max, 1, 2)


@program((v, 1), (v, 0))
def write_in_a_branch(x: Any, flag: Any) -> Any:
    x = x.clone()
    if flag:
        x[0] = 100
        if x.sum() > 50:
            x.zero_()
            return x, 1
    x += 1
    return x, 0


@program(
    (v, 3),
)
def int_becomes_tensor(x: Any, n: Any) -> Any:
    total = 0
    for i in range(n):
        total = total + x[i]
    return total


@program((v, 3), (v, 0))
def loss_from_zero(x: Any, n: Any) -> Any:
    loss = 0
    for i in range(n):
        loss += x.sum() * i
    return loss


@program(
    (v, 3),
)
def concatenated_from_none(x: Any, n: Any) -> Any:
    out = None
    for i in range(n):
        out = x if out is None else ingot.cat([out, x])
    return out


@program(
    (3,),
)
def loop_in_an_inner_function(n: Any) -> Any:
    def fact(k):
        r = 1
        for i in range(2, k + 1):
            r *= i
        return r

    return [fact(i) for i in range(n)], sum(fact(i) for i in (1, 2, 3))


@program(
    (4,),
)
def nested_comprehension(n: Any) -> Any:
    a = [[i * j for j in range(3)] for i in range(n)]
    return a


@program(
    (m,),
)
def reshapes(x: Any) -> Any:
    y = x.reshape(2, 6)
    y = y + 0
    a, b = y.shape
    z = y.view(a, 2, b // 2).transpose(1, 2).reshape(-1, 2)
    return z, z[..., None].shape, x.sum(dim=(0,)), x.sum(-1, keepdim=True), x.mean([0, 1])


@program((v, 2.5), (v, 2))
def tensor_and_number(x: Any, a: Any) -> Any:
    return x * a, x + a, a - x, x**a, a / 2, a // 2, ingot.pow(x, 2), x.add(a, alpha=2)


@program(
    (3,),
)
def closure_sees_later_value(n: Any) -> Any:
    x = 5

    def g():
        return x + n

    x = 7
    return g()


@program(
    (3,),
)
def target_shadowed(n: Any) -> Any:
    s = 0
    for i in range(n):
        for i in range(2):
            s += i
        s += i * 10
    return s, i


@program(
    (v, 3),
)
def while_with_tensor_test(x: Any, n: Any) -> Any:
    i = 0
    while i < n and x[i] < 2.5:
        i += 1
    return i


@program(
    (v, 7),
)
def search(x: Any, n: Any) -> Any:
    i = 0
    while i < x.shape[0] and x[i] != 3.0:
        i += 1
    return i, x[i] if i < x.shape[0] else None


@program(([3, 1, 2],))
def bubble_sort(xs: Any) -> Any:
    xs = list(xs)
    n = len(xs)
    for i in range(n):
        for j in range(n - 1 - i):
            if xs[j] > xs[j + 1]:
                xs[j], xs[j + 1] = xs[j + 1], xs[j]
    return xs


@program(
    (10,),
)
def insertion_sort(n: Any) -> Any:
    xs = [(i * 37) % 11 for i in range(n)]
    for i in range(1, n):
        key = xs[i]
        j = i - 1
        while j >= 0 and xs[j] > key:
            xs[j + 1] = xs[j]
            j -= 1
        xs[j + 1] = key
    return xs


@program((m, m[:2]))
def concatenation(a: Any, b: Any) -> Any:
    return ingot.cat([a, b]), ingot.cat([a, b]).shape[0], (a[:2] + b).sum(), ingot.cat([b, a], dim=0)[3]


@program(
    (v,),
)
def error_by_data(x: Any) -> Any:
    if x.sum() > 0:
        raise ValueError("positive: " + str(3))
    return x


@program((3,), (12,))
def fizz(n: Any) -> Any:
    return "fizz" if n % 3 == 0 and n % 4 else ("buzz" if n % 4 == 0 else str(n))


@program((v,))
def detached(x: Any) -> Any:
    a = x.detach().clone()
    b = a.T if a.ndim == 2 else a
    return b.to(ingot.float64).sum().item(), a.size(0), len(a.shape), a.numel() // 2


@program((2,))
def augmented_everything(n: Any) -> Any:
    assert isinstance(n, int) and n > 0
    k = n
    k <<= 2
    k |= 1
    k ^= 3
    k **= 2
    k //= 3
    k %= 50
    k -= 1
    k >>= 1
    k &= 7
    f = 3.0
    f /= 2
    f **= 2
    f -= n
    f *= 2
    return k, f


@program((v, None), (None, v), (None, None))
def optional_tensors(a: Any, b: Any) -> Any:
    if a is None and b is None:
        return None
    if a is None:
        return b * 2
    if b is None:
        return a * 3
    return a + b


TABLE = {"a": 1, "b": 2}
LIST = [1, 2, 3]
CONST = 0.5


@program((m,), (m[:2],))
def made_from_shapes(x: Any) -> Any:
    return (
        ingot.zeros(x.shape),
        ingot.ones(x.size(0), x.size(1) + 1),
        ingot.full(x.shape, 2),
        ingot.zeros_like(x),
        ingot.arange(x.shape[0]),
        ingot.empty(0).shape,
    )


@program((m, 1, 2), (m, -1, -1), (m, 0, 9))
def two_run_time_indices(x: Any, i: Any, j: Any) -> Any:
    return x[i, j], x[i][j], x[i:, :j], x[-i:, ::2]


@program((v,), (v * 100,))
def converges(x: Any) -> Any:
    y = ingot.zeros(3)
    n = 0
    while (x - y).abs().max() > 0.01 and n < 100:
        y = y + (x - y) * 0.5
        n += 1
    return y, n


@program((v, "sum"), (v, "mean"), (v, "other"))
def mode_by_string(x: Any, reduction: Any = "mean") -> Any:
    if reduction == "sum":
        return x.sum()
    if reduction == "mean":
        return x.mean()
    raise ValueError(f"bad reduction {reduction!r}")


@program((v,))
def globals_as_constants(x: Any) -> Any:
    return (
        x * TABLE["a"] + LIST[1] * CONST + math.pi,
        [x * k for k in LIST],
        {k: x * w for k, w in TABLE.items()},
        math.sqrt(4),
        max(LIST),
        len(TABLE),
    )


@program((m, 2), (m, 4))
def shapes_from_numbers(x: Any, n: Any) -> Any:
    return x.view(n, -1), x.reshape(-1, n), x.view(12 // n, n).t().shape, x.repeat(n, 1), x.expand(2, *x.shape)


@program((v, 3))
def list_extended(x: Any, n: Any) -> Any:
    parts = []
    for i in range(n):
        parts += [x * i, x + i]
    return ingot.cat(parts), len(parts), ingot.stack(parts[:2])


@program(
    (m,),
)
def rows_taken_apart(x: Any) -> Any:
    xs = [row for row in x]
    ys = list(x)
    a, b, c = x
    (d, e, *f) = x[0]
    return xs, len(ys), a + c, d, f


@program((ingot.tensor([[1, 2], [3, 4]]),))
def integer_tensors(x: Any) -> Any:
    return (
        x // 2,
        x % 3,
        x & 1,
        x | 4,
        ~x,
        x << 1,
        x.float() / 3,
        x**2,
        x == 2,
        (x > 1) & (x < 4),
        x.sum().item(),
        bool(x.any()),
    )


@program((v, 2), (v, 0))
def inner_function_with_options(x: Any, n: Any) -> Any:
    def step(h, i, *, scale=1.0):
        if i % 2:
            return h * scale
        return h + i

    h = x
    for i in range(n):
        h = step(h, i, scale=0.5)
    return h


@program((v, 3), (v, 1))
def best_of(x: Any, n: Any) -> Any:
    best, arg = -1.0, -1
    for i in range(n):
        s = (x * i).sum().item()
        if s > best:
            best, arg = s, i
    return best, arg


@program((3,), (10,))
def table_of_results(n: Any) -> Any:
    memo = {0: 0, 1: 1}
    a = [0] * (n + 1)
    if n >= 1:
        a[1] = 1
    for i in range(2, n + 1):
        a[i] = a[i - 1] + a[i - 2]
    return a[n], memo[1]


@program(
    (v,),
)
def functional(x: Any) -> Any:
    return (
        F.cross_entropy(x.unsqueeze(0), ingot.tensor([1])),
        F.mse_loss(x, x * 2),
        F.softmax(x, -1),
        F.log_softmax(x, dim=0),
        F.dropout(x, 0.5, training=False),
        F.linear(x, ingot.ones(2, 3)),
        F.layer_norm(x, (3,)),
    )


@program(
    (ingot.randn(1, 1, 8, 8),),
)
def convolutions(x: Any) -> Any:
    w = ingot.ones(2, 1, 3, 3)
    y = F.conv2d(x, w, padding=1)
    return y.shape, F.max_pool2d(y, 2).shape, F.avg_pool2d(y, 2).sum(), F.adaptive_avg_pool2d(y, 1).flatten(1).shape


@program(
    (m,),
)
def linear_algebra(x: Any) -> Any:
    return (
        ingot.einsum("ij,kj->ik", x, x),
        x @ x.T,
        ingot.matmul(x, x.transpose(0, 1)),
        x.mm(x.t()),
        (x[None] @ x.T).shape,
        ingot.sort(x, descending=True)[0],
        x.topk(2)[0],
        x.cumsum(0),
        x.norm(),
        x.std(),
        x.var(0),
    )


@program((v, True), (v, False))
def containers_from_conditions(x: Any, f: Any) -> Any:
    a = [x, x + 1] if f else [x * 2, x * 3]
    t = (x, 1) if f else (x * 2, 2)
    d = {"k": x} if f else {"k": x * 5}
    return a[0] + a[1], t, d["k"], len(a)


@program((v, True), (v, False))
def lists_of_two_lengths(x: Any, f: Any) -> Any:
    a = [x] if f else [x, x]
    s = x * 0
    for t in a:
        s = s + t
    return s, len(a)


@program(
    (5,),
)
def while_else_with_list(n: Any) -> Any:
    i = 0
    out = []
    while True:
        i += 1
        if i > n:
            break
        if i % 2 == 0:
            continue
        out.append(i)
    else:
        out.append(-1)
    return out


@program((v, None), (v, v))
def optional_mask(x: Any, mask: Any = None) -> Any:
    scores = x * 2
    if mask is not None:
        scores = ingot.where(mask > 1, scores, float("-inf"))
    return F.softmax(scores, -1)


@program(
    (m, [1, 2], {"w": v, "n": 2}),
)
def containers_as_arguments(x: Any, xs: Any, opts: Any) -> Any:
    return x[0] * sum(xs) + opts["n"], opts["w"] + 1, xs[-1]


@program(
    (3, 4.5),
)
def conversions_of_numbers(a: Any, b: Any) -> Any:
    return (
        f"{a}-{b}" if False else "x",
        str(5),
        a.bit_length() if False else 0,
        (a, b) == (3, 4.5),
        [a] * 3,
        a if a else b,
        b.is_integer(),
    )


@program((2**40, 3), (-7, 2))
def integer_arithmetic(a: Any, b: Any) -> Any:
    return (
        a * b,
        a // b,
        a % b,
        -a // b,
        abs(a),
        a >> 2,
        a**b if b < 3 else 0,
        divmod(a, b),
        a / b,
        int(a / b),
        float(a) ** 0.5 if a > 0 else 0.0,
    )


@pytest.mark.parametrize(("function", "calls"), PROGRAMS, ids=[f.__name__ for f, _ in PROGRAMS])
def test_same_as_python(compare: Any, function: Any, calls: Any) -> None:
    assert compare(function, *calls).specialisations
