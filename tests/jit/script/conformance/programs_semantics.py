"""Python's semantics: numbers, evaluation order, aliasing."""

# The programs are as people write them, odd ones included.
# ruff: noqa

import ingot
from conformance_table import accept

v = ingot.tensor([1.0, 2.0, 3.0])
m = ingot.arange(12.0).reshape(3, 4)
BIG = 1 << 62


@accept("integer division and modulo", (7, 3), (-7, 3), (7, -3), (-7, -3), (0, 5))
def signs_of_divisions(a: int, b: int):
    return a // b, a % b, divmod(a, b), a / b, float(a) // b, float(a) % b, -a // b, -(a // b)


@accept("shifts", (5, 2), (-5, 2), (1, 62), (-1, 63), (3, 100), (1, -1), shown=False)
def shifts(a: int, n: int):
    return a << n if n < 63 and a != 3 else 0, a >> n, a >> 70


@accept("integers are 64-bit", (BIG, 1), (BIG, BIG), (-BIG, -BIG))
def overflow_raises(a: int, b: int):
    return a + b


@accept("integers are 64-bit", (3, 39), (3, 40), (-2, 63), shown=False)
def power_overflow(a: int, b: int):
    return a**b


@accept("integers are 64-bit", (BIG,), (-BIG,), shown=False)
def product_overflow(a: int):
    return a * 2


@accept("numbers", (0.5,), (1.5,), (2.5,), (-0.5,), (0.125,))
def round_half_even(x: float):
    return round(x), round(x, 1), round(x, 2), int(x), int(-x), x // 1, x % 1


@accept("numbers", (True, 2), (False, 3), shown=False)
def bools_are_ints(a: bool, b: int):
    return a + b, a * 2.5, a & True, a | False, a ^ True, ~b, -a, a + a, int(a), a == 1, a < b


@accept("numbers", (1e308,), (float("inf"),), (float("nan"),), shown=False)
def floats_that_are_special(x: float):
    return x * 10, x - x, x == x, x < 1, max(x, 1.0), min(1.0, x), -x, x != x


@accept("numbers", (2, 3), (2, -1), (0, 0), (-8, 3), shown=False)
def powers(a: int, b: int):
    return 2.0**b, a**2, (a + 0.5) ** 2, float(a) ** 3


@accept("numbers", (3, 3.0), (1 << 53, 2.0**53), ((1 << 53) + 1, 2.0**53), shown=False)
def ints_and_floats_compare_exactly(a: int, b: float):
    return a == b, a < b, a >= b, a != b


@accept("evaluation order", (3,))
def evaluation_order(n: int):
    log: list[int] = []

    def note(k: int, value: int) -> int:
        log.append(k)
        return value

    x = note(1, n) + note(2, 2) * note(3, 4)
    xs = [0, 0, 0]
    xs[note(5, 1)] = note(4, 9)
    ok = note(6, 0) and note(7, 1) or note(8, 2)
    chain = note(9, 1) < note(10, 0) < note(11, 5)
    d = {note(12, 1): note(13, 2)}
    y = note(15, 1) if note(14, 0) else note(16, 3)
    return x, xs, ok, chain, y, log


@accept("aliasing of lists", ([1, 2],))
def aliases_of_lists(xs: list[int]):
    ys = xs
    ys.append(3)
    zs = [xs, xs]
    zs[0].append(4)
    a = b = []
    a += [1]
    b.append(2)
    c = a + [3]
    return xs, ys is xs, len(zs[1]), b, c


@accept("aliasing of lists", (3, True), (3, False), shown=False)
def aliases_by_branch(n: int, flag: bool):
    a, b = [0], [1]
    c = a if flag else b
    c.append(n)
    return a, b, c


@accept("aliasing of lists", (3,), shown=False)
def rows_that_are_one_list(n: int):
    grid = [[0] * n for _ in range(n)]
    grid[1][2] = 5
    shared = [[0] * 2] * 2
    shared[0][1] = 7
    return grid, shared


@accept("arguments changed in place", ([1, 2, 3], {"a": 1}))
def arguments_in_place(xs: list[int], d: dict[str, int]):
    xs.append(len(xs))
    xs[0] = 10
    d["b"] = 2
    d["a"] += 1
    return None


@accept("aliasing of tensor views", (m.clone(),), slow=True)
def views_share_memory(x):
    row = x[1]
    col = x[:, 2]
    row += 10
    col *= 2
    flat = x.view(-1)
    flat[0] = 99
    t = x.t()
    t[1] = -1
    part = x[1:, ::2]
    part[...] = part + 0.5
    x[0, 1:3] -= 7
    return row, col, flat, t, part, x


@accept("aliasing of tensor views", (m.clone(), 1), (m.clone(), 2), shown=False)
def views_at_run_time_places(x, i: int):
    row = x[i]
    row.mul_(3)
    x[i - 1].add_(row)
    for k in range(i):
        x[k, k] = -x[k, k + 1]
    return row, x


@accept("aliasing of tensor views", (v.clone(), True), (v.clone(), False), shown=False)
def one_of_two_tensors(x, flag: bool):
    y = x * 2
    z = x if flag else y
    w = z.clone()
    w += 1
    return w, z


@accept("aliasing of tensor views", (v.clone(), 0), (v.clone(), 3), shown=False)
def written_in_a_loop(x, n: int):
    h = x
    for _ in range(n):
        h += 1
        h = h * 2
    return h, x


@accept("aliasing of tensor views", (v.clone(), 2, True), (v.clone(), 2, False))
def decided_at_run_time(x, n: int, flag: bool):
    y = x * 2
    z = x if flag else y
    z += n
    z[0] = 7
    return x, y, z


@accept("in-place operators", (m,), slow=True)
def in_place_on_new_tensors(x):
    y = x.clone()
    z = y
    y += 1
    y += x
    y[0] -= 5
    y[y > 50] = 0
    y.sub_(1).add_(2)
    z = z + 0
    return y, z


@accept("in-place operators", (2,))
def in_place_on_lists(n: int):
    xs = [1]
    ys = xs
    xs += [n]
    xs *= 2
    xs = xs + [0]
    t = (1,)
    u = t
    t += (2,)
    return xs, ys, t, u
