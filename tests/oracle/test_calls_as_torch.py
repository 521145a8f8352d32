"""Every listed call does with Ingot what it does with PyTorch: same values, dtypes, shapes, or the same exception."""

import ingot
import pytest
from oracle_calls import CALLS
from oracle_compare import difference, run

torch = pytest.importorskip("torch", reason="PyTorch is the oracle of these tests; install the bench extra to run them")

CASES = [(topic, code) for topic, codes in CALLS.items() for code in codes]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("topic", "code"), CASES, ids=[f"{t}: {c}" for t, c in CASES])
def test_call(topic: str, code: str) -> None:
    found = difference(run(code, torch), run(code, ingot))
    assert found is None, found
