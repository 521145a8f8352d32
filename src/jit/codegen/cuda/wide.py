"""Accesses of 16 bytes in PTX: four neighbouring loads or stores of 4 bytes, or two of 8, become one of a vector.

Numba has no pointers to vectors, and NVVM does not know how memory is aligned. A kernel for aligned memory therefore
says where neighbours are read and written together (see `nests`), and here its PTX is put right: only accesses through
one address register, at offsets next to each other, with nothing between them that could change the register or the
memory.
"""

import itertools
import re
from dataclasses import dataclass

__all__ = ["widen"]

_ACCESS = re.compile(
    r"^\s*(?P<op>ld|st)\.global\.(?P<type>[fub](?:32|64))\s+"
    r"(?:(?P<register>%\w+), \[(?P<from>%\w+)(?:\+(?P<read>-?\d+))?\]|"
    r"\[(?P<to>%\w+)(?:\+(?P<written>-?\d+))?\], (?P<value>%\w+));"
)


@dataclass
class _Access:
    line: int
    is_load: bool
    type: str
    register: str
    base: str
    offset: int

    @property
    def size(self) -> int:
        return int(self.type[1:]) // 8


def _access(text: str, line: int) -> _Access | None:
    found = _ACCESS.match(text)
    if found is None:
        return None
    if found["op"] == "ld":
        return _Access(line, True, found["type"], found["register"], found["from"], int(found["read"] or 0))
    return _Access(line, False, found["type"], found["value"], found["to"], int(found["written"] or 0))


def widen(ptx: str) -> str:
    """The PTX with neighbouring accesses joined.

    >>> print(widen("ld.global.f64 %fd1, [%rd1];\\nld.global.f64 %fd2, [%rd1+8];"))
        ld.global.v2.f64 {%fd1, %fd2}, [%rd1];
    """
    lines = ptx.splitlines()
    replaced: dict[int, str | None] = {}
    run: list[_Access] = []
    changed: set[str] = set()  # registers that were written since the run began

    def close() -> None:
        _join(run, lines, replaced)
        run.clear()
        changed.clear()

    for number, text in enumerate(lines):
        access = _access(text, number)
        if access is not None:
            if not run:
                changed.clear()
            elif run[0].is_load != access.is_load or access.base in changed:
                close()
            run.append(access)
            if access.is_load:
                changed.add(access.register)
            continue
        if text.strip() in ("{", "}"):
            continue  # a scope for temporary registers, as libdevice's functions have
        if re.match(r"^\s*(\$|\}|\{|@|bra|bar|ret|call|atom|red|ld\.|st\.|membar|\w+:)", text):
            close()
            continue
        if (target := re.match(r"^\s*[\w.]+\s+(%\w+|\{[^}]*\})", text)) is not None:
            written = set(re.findall(r"%\w+", target[1]))
            if run and not run[0].is_load and written & {a.register for a in run}:
                close()  # a value that waits to be stored is overwritten
            changed |= written
    close()
    return "\n".join(new for n, text in enumerate(lines) if (new := replaced.get(n, text)) is not None)


def _join(run: list[_Access], lines: list[str], replaced: dict[int, str | None]) -> None:
    """Make vectors of a run of loads, or of stores, that nothing stands between."""
    by_base: dict[tuple[str, str], list[_Access]] = {}
    for access in run:
        by_base.setdefault((access.base, access.type), []).append(access)
    for accesses in by_base.values():
        accesses.sort(key=lambda a: a.offset)
        count = 16 // accesses[0].size
        at = 0
        while at + count <= len(accesses):
            part = accesses[at : at + count]
            step = part[0].size
            is_next = all(b.offset - a.offset == step for a, b in itertools.pairwise(part))
            if not is_next or not all(_may_move(a, part, lines) for a in part):
                at += 1
                continue
            registers = ", ".join(a.register for a in part)
            place = part[0].base + (f"+{part[0].offset}" if part[0].offset else "")
            order = sorted(a.line for a in part)
            first = part[0]
            if first.is_load:
                text, line = f"    ld.global.v{count}.{first.type} {{{registers}}}, [{place}];", order[0]
            else:
                text, line = f"    st.global.v{count}.{first.type} [{place}], {{{registers}}};", order[-1]
            replaced.update(dict.fromkeys(order))
            replaced[line] = text
            at += count


def _may_move(access: _Access, part: list[_Access], lines: list[str]) -> bool:
    """Whether nothing between a load and where the vector is loaded has to do with its register."""
    if not access.is_load:
        return True  # a run of stores ends where one's register is written
    own = {a.line for a in part}
    first = min(own)
    register = re.compile(re.escape(access.register) + r"\b")
    return not any(register.search(lines[n]) for n in range(first, access.line) if n not in own)
