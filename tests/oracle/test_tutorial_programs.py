"""`import ingot as torch`: programs as tutorials show them give what they gave on PyTorch."""

import json
from typing import Any

import ingot
import numpy as np
import pytest
from record_programs import RECORDED, plain
from tutorial_programs import PROGRAMS

EXPECTED = json.loads(RECORDED.read_text())


def assert_same(found: Any, expected: Any, path: str = "result") -> None:
    if isinstance(expected, dict):
        assert found["tensor"] == expected["tensor"] and found["shape"] == expected["shape"], path
        np.testing.assert_allclose(
            np.asarray(found["values"], float), np.asarray(expected["values"], float), 2e-4, 1e-5, err_msg=path
        )
    elif isinstance(expected, list):
        assert len(found) == len(expected), path
        for index, (a, b) in enumerate(zip(found, expected, strict=True)):
            assert_same(a, b, f"{path}[{index}]")
    elif isinstance(expected, float) and isinstance(found, (int, float)):
        assert found == pytest.approx(expected, rel=2e-4, abs=1e-5), path
    else:
        assert found == expected, path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name: str) -> None:
    assert_same(plain(PROGRAMS[name](ingot)), EXPECTED[name])


def test_every_program_is_recorded() -> None:
    assert set(EXPECTED) == set(PROGRAMS), "run tests/oracle/record_programs.py where PyTorch is installed"
