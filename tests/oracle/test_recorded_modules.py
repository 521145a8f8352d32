"""Layers, losses, optimisers and schedulers against what PyTorch did with them (written by `record_modules.py`)."""

import json
from typing import Any

import ingot
import numpy as np
import pytest
from module_cases import MODULES, OPTIMISERS, SCHEDULERS, run_module, run_optimiser, run_scheduler
from record_modules import RECORDED, fingerprint

EXPECTED = json.loads(RECORDED.read_text())
TEXTS = [constructor for constructor, _ in EXPECTED["modules"]]


def compare(found: Any, expected: dict[str, Any]) -> None:
    found = dict(found)
    assert list(found) == list(expected)
    for name, array in found.items():
        shape, *numbers = fingerprint(array)
        assert shape == expected[name][0], name
        scale = 1e-4 * max(1.0, float(np.abs(np.asarray(array, np.float64)).sum()))
        np.testing.assert_allclose(numbers, expected[name][1:], rtol=1e-4, atol=scale, err_msg=name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("number", range(len(MODULES)), ids=[f"{c} {s}" for c, s in MODULES])
def test_module(number: int) -> None:
    constructor, specification = MODULES[number]
    assert TEXTS[number] == constructor, "run record_modules.py after changing the cases"
    compare(run_module(constructor, specification, ingot), EXPECTED["modules"][number][1])


@pytest.mark.parametrize("text", OPTIMISERS)
def test_optimiser(text: str) -> None:
    compare(run_optimiser(text, ingot), EXPECTED["optimisers"][text])


@pytest.mark.parametrize("text", SCHEDULERS)
def test_scheduler(text: str) -> None:
    np.testing.assert_allclose(run_scheduler(text, ingot), EXPECTED["schedulers"][text], rtol=1e-7)
