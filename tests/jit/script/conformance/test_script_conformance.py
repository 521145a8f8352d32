"""Every bullet of the language: accepted programs on all executors, rejected ones with their messages."""

from pathlib import Path
from typing import Any

import programs_arguments
import programs_callbacks
import programs_complex
import programs_control
import programs_exceptions
import programs_expressions
import programs_functions
import programs_library
import programs_managers
import programs_recursion
import programs_rejected
import programs_semantics
import programs_sizes
import programs_tensors
import programs_types
import pytest
from conformance_table import ACCEPTED, REJECTED, Accepted, Rejected, check_accepted, check_rejected

MODULES = (
    programs_arguments, programs_callbacks, programs_complex, programs_control, programs_exceptions,
    programs_expressions, programs_functions, programs_library, programs_managers, programs_recursion,
    programs_rejected, programs_semantics, programs_sizes, programs_tensors, programs_types,
)  # fmt: skip


def _named(program: Any) -> str:
    return f"{program.topic}-{program.name}".replace(" ", "_")


def _marks(program: Accepted) -> list[pytest.MarkDecorator]:
    found = [pytest.mark.slow] if program.slow else []
    return [*found, pytest.mark.xfail(reason=program.missing, strict=False)] if program.missing else found


@pytest.mark.parametrize("program", [pytest.param(p, marks=_marks(p), id=_named(p)) for p in ACCEPTED])
def test_accepted(program: Accepted, tmp_path: Path) -> None:
    check_accepted(program, tmp_path / "program.ingot")


@pytest.mark.parametrize("program", REJECTED, ids=_named)
def test_rejected(program: Rejected) -> None:
    error = check_rejected(program)
    assert error.hint, f"{error} does not say what to write instead"


def test_names_are_unique() -> None:
    assert MODULES
    names = [p.name for p in (*ACCEPTED, *REJECTED)]
    assert len(names) == len(set(names))
