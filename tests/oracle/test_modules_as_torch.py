"""Layers, losses, optimisers and schedulers of `module_cases` against PyTorch, on the same weights and inputs."""

from typing import Any

import ingot
import numpy as np
import pytest
from module_cases import MODULES, OPTIMISERS, SCHEDULERS, run_module, run_optimiser, run_scheduler

torch = pytest.importorskip("torch", reason="PyTorch is the oracle of these tests; install the bench extra to run them")


def compare(theirs: Any, ours: Any, tolerance: float) -> None:
    for (name, a), (other, b) in zip(theirs, ours, strict=True):
        assert name == other
        assert a.shape == b.shape and a.dtype == b.dtype, f"{name}: {a.dtype}{a.shape} and {b.dtype}{b.shape}"
        np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("constructor", "specification"), MODULES, ids=[f"{c} {s}" for c, s in MODULES])
def test_module(constructor: str, specification: tuple[Any, ...]) -> None:
    text = repr(eval(constructor, {"nn": torch.nn})).replace("NonDynamicallyQuantizableLinear", "Linear")
    assert repr(eval(constructor, {"nn": ingot.nn})) == text
    compare(run_module(constructor, specification, torch), run_module(constructor, specification, ingot), 3e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("text", OPTIMISERS)
def test_optimiser(text: str) -> None:
    compare(run_optimiser(text, torch), run_optimiser(text, ingot), 5e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("text", SCHEDULERS)
def test_scheduler(text: str) -> None:
    np.testing.assert_allclose(run_scheduler(text, ingot), run_scheduler(text, torch), rtol=1e-9)
