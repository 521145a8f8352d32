"""Every listed call does what PyTorch did with it when `record_calls.py` was run."""

import json
from pathlib import Path
from typing import Any

import ingot
import pytest
from oracle_calls import CALLS
from oracle_compare import recorded_difference, run

RECORDED = Path(__file__).parent / "recorded"
CASES = [
    (path.stem, *json.loads(line))
    for path in sorted(RECORDED.glob("*.jsonl"))
    for line in path.read_text().splitlines()
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("topic", "code", "expected"), CASES, ids=[f"{t}: {c}" for t, c, _ in CASES])
def test_call(topic: str, code: str, expected: Any) -> None:
    found = recorded_difference(expected, run(code, ingot))
    assert found is None, found


def test_every_call_is_recorded() -> None:
    recorded, listed = {(t, c) for t, c, _ in CASES}, {(t, c) for t, codes in CALLS.items() for c in codes}
    assert recorded == listed, "run tests/oracle/record_calls.py where PyTorch is installed"
