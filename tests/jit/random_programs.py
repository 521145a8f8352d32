"""Random tensor programs as Python source, which run alike in Ingot, PyTorch, and every way of compiling them."""

import linecache
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SIZES = (0, 1, 2, 3, 5, 7)
# Larger magnitudes lose the exactness of sums in float32, which makes results depend on the order of additions.
LARGEST = float(1 << 20)
MOST_ELEMENTS = 2000

_EXACT_UNARY = (
    "{0}.abs()", "-{0}", "{0}.relu()", "{0}.sign()", "{0}.floor()", "{0}.ceil()", "{0}.round()", "{0}.trunc()",
    "{0}.square()", "{0}.clamp(-2, 2)", "{0}.clamp(min=0.5)", "{0}.frac()", "{0}.clone()",
    "torch.nn.functional.relu6({0})", "{0}.neg().contiguous()", "{0}.nan_to_num(0.5, 3.0, -3.0)",
)  # fmt: skip
_SMOOTH_UNARY = (
    "{0}.tanh()", "{0}.sigmoid()", "{0}.sin()", "{0}.cos()", "{0}.clamp(-5, 5).exp()", "{0}.erf()",
    "({0} * {0} + 1).log()", "({0} * {0} + 0.5).sqrt()", "({0} * {0} + 0.5).rsqrt()", "{0}.abs().log1p()",
    "{0}.atan()", "torch.nn.functional.gelu({0})", "torch.nn.functional.silu({0})",
    "torch.nn.functional.softplus({0})", "torch.nn.functional.elu({0})", "{0}.clamp(-2, 2).expm1()",
    "({0} * {0} + 1).reciprocal()", "{0}.abs().pow(1.5)", "{0} ** 2", "{0} / ({0}.abs() + 1)",
    "torch.nn.functional.leaky_relu({0}, 0.1)", "torch.nn.functional.hardswish({0})",
)  # fmt: skip
_INT_UNARY = (
    "{0}.abs()", "-{0}", "{0}.sign()", "{0}.clamp(-3, 3)", "{0} // 2", "{0} % 3", "{0} * 3 - 1", "{0} // -3", "~{0}",
    "{0} & 5", "{0} | 2", "{0} ^ 3", "{0} % -2", "{0}.clone()", "{0}.remainder(4)", "{0}.fmod(3)",
)  # fmt: skip
_BINARY = (
    "{0} + {1}", "{0} - {1}", "{0} * {1}", "torch.maximum({0}, {0} + {1})", "torch.minimum({0} * {1}, {0})",
    "torch.add({0}, {1}, alpha=2)", "{0}.mul({1}).add(1)", "torch.where({0} > 0, {0}, {1})", "{1} - {0}",
)  # fmt: skip
_COMPARE = (
    "{0} < {1}", "{0} >= {1}", "{0} == {1}", "{0} != {1}", "{0} > 0", "{0} <= 1", "{0}.isnan()", "{0} == {0}",
    "torch.isfinite({0})",
)  # fmt: skip
_BOOLEAN = (
    "{0} & {1}", "{0} | {1}", "{0} ^ {1}", "~{0}", "{0}.logical_not()", "{0}.logical_xor({1})",
)  # fmt: skip
_VIEWS = (
    "{0}.transpose({a}, {b})", "{0}.unsqueeze({a})", "{0}.unsqueeze(-1)", "{0}.flatten()", "{0}.reshape(-1)",
    "{0}.squeeze()", "{0}.squeeze({a})", "{0}[1:]", "{0}[..., ::2]", "{0}[:, 0]", "{0}[0]", "{0}[-1]", "{0}[None]",
    "{0}[..., None]", "{0}.flip({a})", "{0}.select({a}, 0)", "{0}.narrow({a}, 0, 1)",
    "{0}.narrow({a}, 0, {0}.shape[{a}] - 1)", "{0}[:{0}.shape[0] // 2]", "{0}[..., :-1]", "{0}[..., 1:, :]",
    "{0}.unsqueeze(0).expand(3, *{0}.shape)", "{0}.reshape({0}.shape[0], -1)", "{0}.chunk(2, {a})[0]",
    "{0}.unbind({a})[0]", "{0}.split(2, {a})[0]", "{0}.mT", "{0}.t()", "{0}.roll(1, {a})", "{0}.roll(-2, {a})",
    "{0}.repeat(2, 1)", "{0}.permute({p})", "{0}.flatten({a}, {b})", "{0}.diagonal()", "{0}.tril()", "{0}.triu(1)",
    "{0}.view({0}.shape)", "{0}.reshape({0}.numel(), 1)", "{0}[::2, 1::3]", "{0}.reshape(1, *{0}.shape)",
    "{0}.view({0}.size(0), {0}.size(1), 1)", "torch.cat([{0}, {0}[:1]])",
)  # fmt: skip
_REDUCTIONS = (
    "{0}.sum()", "{0}.sum({a})", "{0}.sum({a}, keepdim=True)", "{0}.amax({a})", "{0}.amin({a}, keepdim=True)",
    "{0}.max()", "{0}.min({a})[0]", "{0}.max({a})[1]", "{0}.argmax({a})", "{0}.argmin()", "{0}.cumsum({a})",
    "{0}.sum(({a}, {b}))", "{0}.max({a}, keepdim=True)[0]", "({0} > 0).sum({a})", "{0}.any({a})", "({0} < 1).all()",
    "{0}.argmax({a}, keepdim=True)", "({0} != 0).any({a}, keepdim=True)",
)  # fmt: skip
_SMOOTH_REDUCTIONS = (
    "{0}.mean()", "{0}.mean({a})", "{0}.mean({a}, keepdim=True)", "{0}.softmax({a})", "{0}.logsumexp({a})",
    "{0}.log_softmax({a})", "{0}.var({a}, unbiased=False)", "{0}.std()", "{0}.prod({a})", "{0}.norm()",
    "{0}.cumsum({a})", "torch.nn.functional.layer_norm({0}, {0}.shape[-1:])", "{0}.var({a}, keepdim=True)",
)  # fmt: skip
_PRODUCTS = (
    "{0} @ {1}", "{0} @ {1}.mT", "{0}.mT @ {1}", "torch.matmul({0}, {1})", "torch.outer({0}.flatten(), {1}.flatten())",
    "torch.nn.functional.linear({0}, {1})", "torch.einsum('ij,kj->ik', {0} * 1.0, {1} * 1.0)", "({0} * {1}).sum(-1)",
    "torch.einsum('...i,...i->...', {0}, {1})", "torch.bmm({0}, {1}.mT)", "torch.mm({0}, {1})",
)  # fmt: skip
_JOINS = (
    "torch.cat([{0}, {1}], {a})", "torch.cat(({0}, {0}), -1)", "torch.stack([{0}, {1}], {a})",
    "torch.stack([{0}, {0}])", "torch.nn.functional.pad({0}, (1, 2))",
    "torch.nn.functional.pad({0}, (0, 1, 2, 0), value=1.5)", "torch.cat([{0}, {1}])",
)  # fmt: skip
_INDEXING = (
    "{0}[{i}]", "{0}[..., {i}]", "{0}.index_select({a}, {i}.flatten())", "{0}[{m}]", "{0}.masked_fill({m}, 2)",
    "{0}.masked_fill({m}, -1.5)", "torch.where({m}, {0}, 0)", "{0}.gather({a}, {i})", "torch.where({m}, {0}, {1})",
    "{0}.masked_select({m})", "{0}[{i}, {i}]", "{0}[:, {i}]",
)  # fmt: skip
_CREATIONS = (
    "torch.zeros_like({0})", "torch.ones({0}.shape[{a}], 2)", "torch.full_like({0}, 1.5)",
    "torch.arange({0}.shape[0])", "torch.arange({0}.numel()).reshape({0}.shape)", "{0}.new_zeros({0}.shape[{a}])",
    "torch.eye({0}.shape[-1])", "torch.tensor([1.0, -2.0, 0.5])", "torch.tensor(2.0)", "torch.tensor([0, 1])",
    "{0}.new_ones(2, {0}.size({a}))", "torch.zeros({0}.shape[0], {0}.shape[-1])",
)  # fmt: skip
_CASTS = (
    "{0}.float()", "{0}.double()", "{0}.to(torch.float32)", "{0}.type_as({1})",
)  # fmt: skip
_EXACT_CASTS = (
    "{0}.long()", "{0}.int()", "{0}.bool()", "{0}.to(torch.int64)", "{0} > 0.5",
)  # fmt: skip
_WRITES = (
    "{0} += {1}", "{0} *= 2", "{0}[0] = {s}", "{0}[..., 0] += 1", "{0}[1:] = {0}[:-1]", "{0}.add_({1})",
    "{0}.mul_({1})", "{0}[{m}] = {s}", "{0}.fill_({s})", "{0}[:, 1:] -= 1", "{0}.zero_()", "{0}.copy_({1})",
    "{0}.t().mul_(2)", "{0}.select({a}, 0).zero_()", "{0}[::2] = {1}[::2]", "{0}[{i}] = {s}", "{0}.clamp_(-1, 1)",
    "{0}.masked_fill_({m}, 1)", "{0}.flatten().add_(1)", "{0}[None][0].sub_(1)", "{0}[0], {0}[-1] = {0}[-1], {0}[0]",
    "{0}.transpose({a}, {b})[0] = 1",
)  # fmt: skip
_INTS = (
    "{0}.shape[{a}]", "{0}.size(-1)", "{0}.numel()", "{0}.dim()", "len({0})", "{n} + {k}", "{n} - {k}", "{n} // 2",
    "{n} % 3", "{n} * 2", "max({n}, {k})", "min({n}, {0}.shape[{a}])", "abs({k} - {n})", "-{n} // 3", "-{n} % 4",
)  # fmt: skip
_DATA_INTS = (
    "int({0}.sum())", "int({0}.max())", "int(({0} > 0).sum())", "{0}.argmax().item()",
)  # fmt: skip


@dataclass
class Argument:
    """How an argument is made: a dtype, sizes by number (-1 stands for 1), a layout."""

    dtype: str
    dims: tuple[int, ...]
    layout: str = "plain"


@dataclass
class Program:
    """A function's source, and what its arguments are."""

    seed: int
    source: str
    arguments: list[Argument]
    special: bool
    numbers: list[int | float] = field(default_factory=list)

    def inputs(self, seed: int, sizes: tuple[int, ...]) -> list[Any]:
        """Arrays for these sizes, and the numbers."""
        random = np.random.default_rng([self.seed, seed])
        arrays: list[Any] = [_array(random, a, sizes, self.special) for a in self.arguments]
        return [*arrays, *self.numbers]

    def function(self, library: Any) -> Callable[..., Any]:
        """The function, its source known to `inspect`."""
        return compiled_source(self.source, f"<random program {self.seed}>", library)


def compiled_source(source: str, filename: str, library: Any) -> Callable[..., Any]:
    """The function `f` that the source defines."""
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    names: dict[str, Any] = {"torch": library, "__name__": "random_program"}
    exec(compile(source, filename, "exec"), names)
    return names["f"]  # type: ignore[no-any-return]


def _array(random: np.random.Generator, argument: Argument, sizes: tuple[int, ...], special: bool) -> Any:
    shape = tuple(1 if d < 0 else sizes[d] for d in argument.dims)
    wide = shape
    if argument.layout == "strided" and shape:
        wide = (*shape[:-1], shape[-1] * 2 + 1)
    elif argument.layout == "transposed":
        wide = shape[::-1]
    if argument.dtype == "bool":
        array = random.random(wide) < 0.5
    elif argument.dtype.startswith("int"):
        array = random.integers(-4, 5, wide).astype(argument.dtype)
    else:
        array = (random.integers(-8, 9, wide) / 2).astype(argument.dtype)
        if special and array.size:
            array.flat[random.integers(array.size)] = random.choice([np.nan, np.inf, -np.inf, -0.0])
    if argument.layout == "strided" and shape:
        array = array[..., 1::2]
    elif argument.layout == "transposed":
        array = array.T
    return np.asarray(array)


class _Draft:
    """A function in the making: its statements are run as they are added, and only those that work are kept."""

    def __init__(
        self, library: Any, seed: int, smooth: bool, control: bool, special: bool = False, writes: bool = True
    ) -> None:
        self.library = library
        self.choose = random.Random(seed)
        self.smooth = smooth
        self.control = control
        self.special = special
        self.writes = writes
        self.names: dict[str, Any] = {"torch": library}
        self.count = 0

    def pick(self, kind: str, names: dict[str, Any]) -> str | None:
        """The name of a value: "t" any tensor, "f", "i" and "b" by dtype, "n" an int."""
        found = [n for n, v in names.items() if self.is_kind(v, kind)]
        if not found:
            return None
        return self.choose.choice(found[-4:] if self.choose.random() < 0.6 else found)

    def is_kind(self, value: Any, kind: str) -> bool:
        if kind == "n":
            return type(value) is int
        if not isinstance(value, self.library.Tensor):
            return False
        if kind == "t":
            return True
        dtype = str(value.dtype).rsplit(".", 1)[-1]
        return dtype.startswith({"f": "float", "i": "int", "b": "bool"}[kind])

    def expression(self, names: dict[str, Any]) -> str | None:
        c = self.choose
        kinds = [
            _BINARY,
            _BINARY,
            _VIEWS,
            _VIEWS,
            _REDUCTIONS,
            _JOINS,
            _INDEXING,
            _COMPARE,
            _CREATIONS,
            _CASTS,
            _PRODUCTS,
        ]
        kinds += (
            [_SMOOTH_UNARY, _SMOOTH_UNARY, _SMOOTH_REDUCTIONS, _PRODUCTS]
            if self.smooth
            else [_EXACT_CASTS, _EXACT_UNARY]
        )
        if not self.smooth:
            kinds += [_INT_UNARY, _BOOLEAN]
        group = c.choice(kinds)
        kind = "t"
        if group in (_EXACT_UNARY, _SMOOTH_UNARY, _SMOOTH_REDUCTIONS):
            kind = "f"
        elif group is _INT_UNARY:
            kind = "i"
        elif group is _BOOLEAN:
            kind = "b"
        elif self.smooth and c.random() < 0.9:
            kind = "f"
        if self.smooth and group in (_COMPARE, _INDEXING):
            return None
        if self.special and group is _EXACT_CASTS:
            return None  # what NaN and infinity are as integers is not defined
        return self.filled(c.choice(group), kind, names)

    def filled(self, form: str, kind: str, names: dict[str, Any]) -> str | None:
        c = self.choose
        first = self.pick(kind, names)
        if first is None:
            return None
        second = self.pick(kind, names) or first
        if c.random() < 0.15 and "{1}." not in form and not form.startswith("{1}") and "@" not in form:
            second = self.pick("n", names) if c.random() < 0.3 else c.choice(["2", "0.5", "-1", "3"])
            second = second or "2"
        rank = names[first].ndim if hasattr(names[first], "ndim") else 0
        a, b = (c.randrange(rank) if rank else 0), (c.randrange(rank) if rank else 0)
        if c.random() < 0.3 and rank:
            a -= rank
        order = list(range(rank))
        c.shuffle(order)
        values = {
            "a": a, "b": b, "p": ", ".join(map(str, order)), "k": c.randint(0, 4), "n": self.pick("n", names) or "3",
            "s": c.choice(["1", "0.5", "-2.0", second]),
        }  # fmt: skip
        if "{i}" in form:
            index = self.pick("i", names)
            values["i"] = f"({index} % {first}.shape[{a}])" if index and c.random() < 0.7 else c.choice(
                ["torch.tensor([0, 0])", "torch.tensor([-1, 0, 0])"])  # fmt: skip
        if "{m}" in form:
            mask = self.pick("b", names)
            values["m"] = mask if mask and c.random() < 0.5 else f"({first} > 0)"
        return form.format(first, second, **values)

    # -- statements ---------------------------------------------------------------------------------------------------

    def fresh(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def statement(self, names: dict[str, Any], depth: int, loop: bool) -> list[str]:
        """The lines of a statement; none where the draw made no sense."""
        c = self.choose
        draw = c.random()
        if draw < 0.12 and self.writes:
            form = c.choice(_WRITES)
            text = self.filled(form, "f" if c.random() < 0.8 or self.smooth else "i", names)
            if self.smooth and text and ("> 0" in text or "%" in text):
                return []
            return [text] if text else []
        if draw < 0.2:
            forms = _INTS + (_DATA_INTS if self.control and not self.smooth else ())
            text = self.filled(c.choice(forms), "t", names)
            return [f"{self.fresh()} = {text}"] if text else []
        if self.control and depth < 2 and draw < 0.4:
            return self.compound(names, depth)
        text = self.expression(names)
        if not text:
            return []
        again = c.random() < (0.7 if depth else 0.1)
        target = self.pick("t", names) if again else None
        return [f"{target or self.fresh()} = {text}"]

    def condition(self, names: dict[str, Any]) -> str:
        c = self.choose
        n = self.pick("n", names) or "2"
        tensor = self.pick("t", names) or "x0"
        forms = [
            f"{n} > {c.randint(0, 3)}",
            f"{n} % 2 == 0",
            f"{tensor}.shape[0] > 2",
            f"{tensor}.dim() == {c.randint(1, 3)}",
            f"{n} < 3 and {n} != 1",
            f"not {n} == 2",
            f"{n} == 1 or {n} > 4",
        ]
        if not self.smooth:
            forms += [
                f"{tensor}.sum() > 0",
                f"({tensor} > 0).any()",
                f"float({tensor}.max()) > 1.5",
                f"bool(({tensor} == 0).all())",
            ]
        return c.choice(forms)

    def block(self, names: dict[str, Any], depth: int, loop: bool) -> list[str]:
        """Statements that work one after another on copies of the values."""
        copied = {k: v.clone() if isinstance(v, self.library.Tensor) else v for k, v in names.items()}
        lines: list[str] = []
        for _ in range(self.choose.randint(1, 3)):
            new = self.statement(copied, depth, loop)
            if new and self.works(new, copied):
                lines += new
        if loop and self.choose.random() < 0.25:
            lines += [f"if {self.condition(copied)}:", f"    {self.choose.choice(['break', 'continue'])}"]
        return lines or ["pass"]

    def compound(self, names: dict[str, Any], depth: int) -> list[str]:
        c = self.choose
        kind = c.choice(("if", "if", "for", "while", "history", "rows"))
        before = self.count
        if kind == "if":
            lines = [f"if {self.condition(names)}:", *_indented(self.block(names, depth + 1, False))]
            if c.random() < 0.7:
                lines += ["else:", *_indented(self.block(names, depth + 1, False))]
            return lines
        counter = f"k{self.count}"
        self.count += 1
        inner = {**names, counter: 1}
        if kind == "for":
            bound = c.choice([self.pick("n", names) or "2", "3", "2", "0"])
            head = c.choice([f"range({bound})", f"range(1, {bound})", f"range({bound}, 0, -1)"])
            return [f"for {counter} in {head}:", *_indented(self.block(inner, depth + 1, True))]
        if kind == "while":
            body = [line for line in self.block(inner, depth + 1, False)]
            return [
                f"{counter} = 0",
                f"while {counter} < 3 and ({self.condition(inner)}):",
                f"    {counter} += 1",
                *_indented(body),
            ]
        tensor = self.pick("t", names) or "x0"
        if kind == "rows":
            row = f"r{before}"
            try:
                inner = {**names, row: names[tensor][0].clone()}
            except (IndexError, KeyError):
                return []
            return [f"for {row} in {tensor}:", *_indented(self.block(inner, depth + 1, True))]
        history = f"h{before}"
        text = self.expression(names)
        if not text:
            return []
        body = _indented(self.block(inner, depth + 1, False))
        joined = f"{self.fresh()} = {c.choice(['torch.stack', 'torch.cat'])}({history})"
        return [f"{history} = []", f"for {counter} in range(3):", *body, f"    {history}.append({text})", joined]

    def works(self, lines: list[str], names: dict[str, Any]) -> bool:
        """Run the statement; if it fails or its values are too large, the values are as they were before."""
        before = {k: (v, v.clone()) for k, v in names.items() if isinstance(v, self.library.Tensor)}
        trial = dict(names)
        try:
            exec("\n".join(lines), trial)
            fine = all(self.acceptable(v) for k, v in trial.items() if k != "__builtins__")
        except (
            RuntimeError,
            IndexError,
            TypeError,
            ValueError,
            ZeroDivisionError,
            OverflowError,
            AttributeError,
            NameError,
        ):
            fine = False
        if fine:
            names.clear()
            names.update((k, v) for k, v in trial.items() if k != "__builtins__")
            return True
        for value, copy in before.values():
            if value.ndim == 0 or 0 not in value.stride():
                value.copy_(copy)
        return False

    def acceptable(self, value: Any) -> bool:
        if type(value) is int:
            return abs(value) < 1 << 40
        if not isinstance(value, self.library.Tensor):
            return True
        array = np.asarray(value.detach().numpy(), np.float64)
        limit = 1e4 if self.smooth else LARGEST
        return (
            array.size <= MOST_ELEMENTS
            and array.ndim <= 5
            and bool((~(np.abs(np.nan_to_num(array, posinf=0, neginf=0)) > limit)).all())
        )


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def random_program(library: Any, seed: int, *, control: bool, steps: int = 9) -> tuple[Program, tuple[int, ...]]:
    """A function of a few tensors that works for the sizes that come with it.

    With `control` it has branches, loops and numbers, as for `jit.script`; without, it can be traced.
    """
    c = random.Random(seed + 1)
    smooth = c.random() < 0.45
    sizes = tuple(c.choice(SIZES[1:] if c.random() < 0.85 else SIZES) for _ in range(3))
    # Whether a reshape of a tensor with other strides is a view of it, and sees its writes, is up to the strides.
    writes = c.random() < 0.6
    layouts = ("plain",) if writes else ("plain", "strided", "transposed")
    arguments = []
    dtypes = ["float32"] * 5 + ["float64"] + ([] if smooth else ["int64", "int64", "int32", "bool"])
    for i in range(c.randint(1, 3)):
        dims = tuple(
            -1 if c.random() < 0.15 else c.randrange(3) for _ in range(c.randint(1, 3) if i == 0 else c.randint(0, 3))
        )
        arguments.append(Argument(dtypes[0] if i == 0 else c.choice(dtypes), dims, c.choice(layouts)))
    special = not smooth and c.random() < 0.2
    numbers: list[int | float] = [c.randint(0, 5) for _ in range(c.randint(0, 2))] if control else []
    program = Program(seed, "", arguments, special, numbers)
    draft = _Draft(library, seed, smooth, control, special, writes)
    names = [f"x{i}" for i in range(len(arguments))] + [f"n{i}" for i in range(len(numbers))]
    for name, value in zip(names, program.inputs(0, sizes), strict=True):
        draft.names[name] = library.from_numpy(value) if isinstance(value, np.ndarray) else value
    lines: list[str] = []
    for _ in range(steps * 6):
        new = draft.statement(draft.names, 0, False)
        if new and draft.works(new, draft.names):
            lines += new
            steps -= len(new)
        if steps <= 0:
            break
    results = [n for n in draft.names if n[0] == "v" and isinstance(draft.names[n], library.Tensor)] or ["x0"]
    returned = [*c.sample(results, min(len(results), 2)), "x0"]
    if results[-1] not in returned:
        returned.append(results[-1])
    text = "".join(f"    {line}\n" for line in lines)
    # Copies, since whether a result is a view of an argument is not what is compared.
    program.source = f"def f({', '.join(names)}):\n{text}    return {', '.join(f'{r}.clone()' for r in returned)}\n"
    return program, sizes
