"""The innermost loop of a kernel in segments, in each of which every index moves by a fixed step.

Remainders (`roll`, `repeat`) and the larger or smaller of two indices (reflected and replicated borders) are piecewise
linear in the loop's variable. Computed per element they cost more than all else and keep LLVM from vectorising; here
they are computed once where a segment starts, together with where it ends.
"""

from collections.abc import Callable, Sequence

from ...ir.dims import Dim, DimExpr
from .indexing import loop_symbols, terms
from .kernel_text import Text

__all__ = ["loop_in_segments"]

# An int that is known, and how often the steps of other pieces are added to it.
_Step = tuple[int, tuple[tuple[int, int], ...]]
# Remainders by literals up to this are left to LLVM: segments would be short.
_SHORT = 32


class _Pieces:
    """The piecewise linear parts of some positions, those first that others are made of."""

    def __init__(self, variable: str, positions: Sequence[Dim], known: frozenset[str]) -> None:
        self.variable = variable
        self.known = known | {variable}  # what is moved by loops inside of this one has no value where a segment starts
        self.found: list[DimExpr] = []  # each is one function of two indices
        self.steps: list[_Step | None] = []  # None: known when a segment starts only
        for position in positions:
            self.step_of(position)

    def step_of(self, index: Dim) -> _Step | None:
        """How far an index moves with the variable; None where that is not piecewise linear, as is known here."""
        known = 0
        others: list[tuple[int, int]] = []
        possible = True
        for part, factor in terms(index):
            if isinstance(part, int) or self.variable not in loop_symbols(part):
                continue
            if part.is_symbol():
                if isinstance(factor, int):
                    known += factor
                else:
                    possible = False
                continue
            number = self.piece(part)
            if number is None or not isinstance(factor, int):
                possible = False
                continue
            step = self.steps[number]
            if step is not None and not step[1]:
                known += factor * step[0]
            else:
                others.append((factor, number))
        return (known, tuple(others)) if possible else None

    def piece(self, part: DimExpr) -> int | None:
        """The number of a piece; None for what is not piecewise linear with few segments."""
        if part in self.found:
            return self.found.index(part)
        monomial = part._terms[0][0]
        if len(monomial) != 1 or len(monomial[0].arguments) != 2 or not loop_symbols(part) <= self.known:
            return None
        left, right = monomial[0].arguments
        steps = self.step_of(left), self.step_of(right)
        if steps[0] is None or steps[1] is None:
            return None
        step: _Step | None = None
        match monomial[0].name:
            case "mod":
                short = isinstance(right, int) and right <= _SHORT
                if short or steps[1] != (0, ()) or steps[0][1] or not steps[0][0]:
                    return None
                step = steps[0]
            case "max" | "min":
                if steps[0] == steps[1] and not steps[0][1]:
                    step = steps[0]
            case _:
                return None
        self.found.append(part)
        self.steps.append(step)
        return len(self.found) - 1


def loop_in_segments(
    text: Text, variable: str, first: str, stop: str, positions: Sequence[Dim], body: Callable[[], None]
) -> None:
    """Write a loop of a variable over range(first, stop) around what `body` writes, which uses these positions."""
    positions = [text.resolve(p) for p in positions]
    pieces = _Pieces(variable, positions, text.scope.variables)
    name = text.variable(variable)
    if not pieces.found:
        with text.block(f"for {name} in range({first}, {stop}):", {variable}):
            body()
        return
    start, end, until = text.fresh("start"), text.fresh("end"), text.fresh("until")
    text.line(f"{start} = {first}")
    text.line(f"{end} = {stop}")
    with text.block(f"while {start} < {end}:"):
        text.line(f"{until} = {end}")
        text.names[variable] = start
        steps = [_begin(text, part, pieces, number, start, until) for number, part in enumerate(pieces.found)]
        text.names[variable] = name
        values = [text.pieces[part] for part in pieces.found]

        def loop(steps: Sequence[str]) -> None:
            for part, value, step in zip(pieces.found, values, steps, strict=True):
                moved = f"{name} - {start}" if step == "1" else f"({name} - {start}) * {step}"
                text.pieces[part] = f"({value} + {moved})"
            with text.block(f"for {name} in range({start}, {until}):", {variable}):
                body()

        # Only a step that is a literal makes memory contiguous in LLVM's eyes.
        inside = {part for whole in pieces.found for part in pieces.found if part is not whole and _holds(whole, part)}
        open_steps = [s for s, part in zip(steps, pieces.found, strict=True) if s.isidentifier() and part not in inside]
        if open_steps:
            for number, literal in enumerate(("1", "(-1)")):
                condition = " and ".join(f"{step} == {literal}" for step in open_steps)
                with text.block(f"{'elif' if number else 'if'} {condition}:"):
                    loop([literal if step in open_steps else step for step in steps])
            with text.block("else:"):
                loop(steps)
        else:
            loop(steps)
        text.line(f"{start} = {until}")
    for part in pieces.found:
        del text.pieces[part]


def _begin(text: Text, part: DimExpr, pieces: _Pieces, number: int, start: str, until: str) -> str:
    """Write the value of a piece where a segment starts, and the end of the segment; gives the step as text."""
    ((monomial, _),) = part._terms
    left, right = monomial[0].arguments
    value = text.fresh("piece")
    known = pieces.steps[number]
    text.pieces[part] = value
    if monomial[0].name == "mod":
        assert known is not None
        step, size = known[0], text.index(right)
        text.requirements.helpers.add("wrapped_index")
        text.line(f"{value} = wrapped_index({text.index(left)}, {size})")
        if step > 0:
            # At least one, also where the size is zero: inside of a pad, what is empty has segments that nobody reads.
            whole = f"{size} - {value}" if step == 1 else f"({size} - {value} + {step - 1}) // {step}"
            left_over = f"max({whole}, 1)"
        else:
            left_over = f"{value} // {-step} + 1"
        text.line(f"{until} = min({until}, {start} + {left_over})")
        return _literal(step)
    choose = monomial[0].name
    if known is not None:
        text.line(f"{value} = {choose}({text.index(left)}, {text.index(right)})")
        return _literal(known[0])
    a, b, step_name, rate = text.fresh("left"), text.fresh("right"), text.fresh("step"), text.fresh("rate")
    steps = [_step_text(text, pieces, pieces.step_of(side)) for side in (left, right)]
    text.line(f"{a} = {text.index(left)}")
    text.line(f"{b} = {text.index(right)}")
    text.line(f"{value} = {choose}({a}, {b})")
    text.line(f"{step_name} = {steps[0]} if {a} == {value} else {steps[1]}")
    # How fast the index that was not chosen catches up.
    difference = f"{steps[0]} + {steps[1]} - 2 * {step_name}"
    text.line(f"{rate} = {difference if choose == 'max' else f'-({difference})'}")
    with text.block(f"if {rate} > 0:"):
        text.line(f"{until} = min({until}, {start} + abs({a} - {b}) // {rate} + 1)")
    text.steps[part] = step_name
    return step_name


def _step_text(text: Text, pieces: _Pieces, step: _Step | None) -> str:
    assert step is not None
    known, others = step
    parts = [f"{text.steps[pieces.found[number]]} * {_literal(factor)}" for factor, number in others]
    return f"({' + '.join([*parts, *([_literal(known)] if known or not parts else [])])})"


def _literal(number: int) -> str:
    return str(number) if number >= 0 else f"({number})"


def _holds(whole: DimExpr, part: DimExpr) -> bool:
    """Whether a piece is part of what another is made of, at any depth."""
    return str(part) in str(whole)
