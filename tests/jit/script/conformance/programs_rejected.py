"""Programs that are refused: when they are decorated, or at the first call."""

# The programs are as people write them, odd ones included.
# ruff: noqa

import ingot
from conformance_table import reject
from ingot import jit, nn

v = ingot.tensor([1.0, 2.0, 3.0])
counted = 0


# -- syntax: all findings at once, when decorated ----------------------------------------------------------------------


@reject("syntax", "generators cannot be compiled", hint="append to a list and return it", marked="yield x")
def generator(x):
    yield x


@reject(
    "syntax",
    "is a variable from outside, which is a constant of the program (and 2",
    hint="classes cannot be defined",
    marked="counted",
)
def several_findings(x):
    global counted
    counted = 1
    yield x

    class Inner:
        pass


@reject("syntax", "a generator can only be compiled where it is consumed", hint="list comprehension", marked="(k for")
def generator_that_is_kept(x):
    g = (k for k in range(3))
    return sum(g)


@reject("syntax", "`except*` cannot be compiled", hint="plain `except`", marked="try")
def exception_groups(x):
    try:
        x = x + 1
    except* ValueError:
        pass
    return x


@reject("syntax", "async functions cannot be compiled", hint="plain `def`", marked="async def")
async def asynchronous(x):
    return x


class Owner:
    @staticmethod
    def indented(x):
        if x:
            yield 1


reject("syntax", "generators cannot be compiled", hint="append to a list", marked="yield 1")(Owner.indented)
a_lambda = lambda x: (yield x)
reject("syntax", "generators cannot be compiled", hint="append to a list", marked="yield x")(a_lambda)


# -- names and types, at the first call --------------------------------------------------------------------------------


@reject("names", "name 'scael' is not defined", hint="did you mean scale?", marked="scael", arguments=(v,))
def misspelt_name(x):
    scale = 2
    return x * scael


@reject("names", "has no attribute 'sume'", hint="sum", marked="x.sume", arguments=(v,))
def misspelt_method(x):
    return x.sume()


@reject("names", "module 'ingot' has no attribute 'reluu'", hint="relu", marked="ingot.reluu", arguments=(v,))
def misspelt_function(x):
    return ingot.reluu(x)


@reject("types", "unsupported operand types for +: str ('a') and int", hint="str(", marked='"a" + n', arguments=(3,))
def strings_and_numbers(n):
    return "a" + n


@reject("types", "is not iterable", hint="", marked="n", arguments=(3,))
def iterating_a_number(n):
    for i in n:
        pass
    return 0


@reject("types", "is not callable", hint="", marked="n(3)", arguments=(3,))
def calling_a_number(n):
    return n(3)


@reject("types", "is not subscriptable", hint="", marked="n[0]", arguments=(3,))
def indexing_a_number(n):
    return n[0]


@reject("types", "'NoneType' object has no attribute 'shape'", hint="is not None", marked="y.shape", arguments=(v,))
def attribute_of_none(x):
    y = None
    return y.shape


@reject("types", "inner dimensions", hint="", marked="x @ y", arguments=(ingot.ones(2, 3), ingot.ones(2, 3)))
def shapes_that_do_not_fit(x, y):
    return x @ y


@reject("types", "missing 1 required argument", hint="", marked="f(n)", arguments=(3,))
def missing_argument(n):
    def f(a, b):
        return a + b

    return f(n)


@reject("types", "unexpected keyword argument 'c'", hint="", marked="f(n, c=2)", arguments=(3,))
def unexpected_keyword(n):
    def f(a, b=1):
        return a + b

    return f(n, c=2)


@reject("types", "not enough values to unpack", hint="", marked="a, b, c", arguments=(3,))
def unpacking_too_few(n):
    a, b, c = (n, n)
    return a


@reject("types", "catching classes that do not inherit from BaseException", hint="exception class", marked="int",
        arguments=(3,))  # fmt: skip
def catching_no_exception(n):
    try:
        return 1 // n
    except int:
        return 0


@reject("types", "exceptions must derive from Exception", hint="exception class", marked="raise", arguments=(3,))
def raising_no_exception(n):
    raise n


@reject("types", "`with` over int", hint="__enter__ and __exit__", marked="n", arguments=(3,))
def with_over_a_number(n):
    with n:
        return n


# -- functions, modules ------------------------------------------------------------------------------------------------


def deep(x):
    return deeper(x)


def deeper(x):
    return x.sume()


@reject("call chain", "called from", hint="sum", marked="x.sume", arguments=(v,))
def chain(x):
    return deep(x) + 1


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.big = 1 << 70

    def forward(self, x):
        return x * self.big


@reject("integers", "does not fit in 64 bits", hint="64 bits", marked="n * (1 << 70)", arguments=(3,))
def too_large_a_constant(n):
    return n * (1 << 70)
