"""Functions: nested ones, closures, arguments, decorators, modules."""

# The programs are as people write them, odd ones included.
# ruff: noqa

from typing import Any, Final

import ingot
from conformance_table import accept
from ingot import jit, nn

v = ingot.tensor([1.0, 2.0, 3.0])


@accept("nested functions and closures", (3,))
def closures(n: int):
    k = 2

    def outer(x):
        def inner(y):
            return x * y + k

        return inner(n)

    adders = [lambda z, a=a: z + a for a in (1, 10)]
    k = 5
    return outer(4), [f(n) for f in adders]


@accept("nested functions and closures", (3,), shown=False)
def nonlocal_names(n: int):
    count = 0

    def bump(by: int):
        nonlocal count
        count += by
        return count

    bump(n)
    bump(2)
    return count


@accept("default and keyword-only arguments", (1,))
def arguments(a: int):
    def f(x, y=2, /, z=3, *args, key=4, **more):
        return x, y, z, len(args), key, len(more)

    return f(a), f(a, 5, 6, 7, 8), f(a, z=1, key=2), f(a, 1, q=1, r=2)


def helper(x, scale: float = 2.0):
    return x * scale


@accept("calling other functions", (v,))
def calls_helpers(x):
    return helper(x) + helper(x, scale=0.5) + helper(scale=3.0, x=x)


@jit.ignore
def plain_python(x):
    return x.numpy().tolist()


@jit.unused
def never(x: Any) -> Any:
    raise NotImplementedError


class Decorated(nn.Module):
    limit: Final[int] = 3

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.register_buffer("total", ingot.zeros(3))
        self.weight = nn.Parameter(ingot.ones(3))

    @property
    def double(self):
        return self.weight * 2

    @jit.export
    def other(self, x):
        return x - 1

    def forward(self, x):
        self.total += x
        if jit.is_scripting():
            y = self.double
        else:
            y = self.double
        for _ in range(self.limit):
            y = y * x
        if self.training:
            y = y + 1
        return self.other(y), self.total


@accept("modules", (v,), make=Decorated, save=False)
def properties_buffers_constants(x):
    """See `Decorated.forward`."""


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.k = 2.0

    def forward(self, x):
        return x * self.k


class Derived(Base):
    def forward(self, x):
        return super().forward(x) + 1


@accept("modules", (v,), make=Derived)
def super_forward(x):
    """See `Derived.forward`."""


def _hooked() -> nn.Module:
    module = nn.Sequential(Base(), Derived())
    module[0].register_forward_hook(lambda mod, args, out: out + mod.k)
    module[1].register_forward_pre_hook(lambda mod, args: (args[0] * 3,))
    return module


@accept("modules", (v,), make=_hooked)
def forward_hooks(x):
    """See `_hooked`."""


@accept("jit.fork, jit.wait", (v,))
def forks(x):
    a = jit.fork(helper, x, 3.0)
    b = helper(x)
    return jit.wait(a) + b


@accept("jit.annotate", (2,))
def annotated(n: int):
    xs = jit.annotate(list[int], [])
    for k in range(n):
        xs.append(k)
    return xs
