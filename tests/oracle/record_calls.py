"""Writes what PyTorch does with the listed calls to `recorded/`, so that Ingot is compared with it where it is not.

Run it with `python tests/oracle/record_calls.py` where PyTorch is installed, after adding calls.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from oracle_calls import CALLS
from oracle_compare import run

RECORDED = Path(__file__).parent / "recorded"


def number(value: Any) -> Any:
    """A number with the digits that float32 has, short in JSON."""
    if isinstance(value, complex):
        return [number(value.real), number(value.imag)]
    if isinstance(value, float) and np.isfinite(value):
        short = float(f"{value:.8g}")
        return (
            int(short) if short.is_integer() and abs(short) < 1e15 and (short or np.copysign(1, short) > 0) else short
        )
    return value


def encode(value: Any) -> Any:
    """An outcome as JSON data (see `oracle_compare.recorded_difference`)."""
    if isinstance(value, Exception):
        return {"raises": type(value).__name__}
    if hasattr(value, "requires_grad"):
        array = value.detach().resolve_conj().resolve_neg().numpy()
        found = {"tensor": str(value.dtype).removeprefix("torch."), "shape": list(value.shape)}
        found["values"] = [number(v) for v in array.reshape(-1).tolist()]
        return found | ({"requires_grad": True} if value.requires_grad else {})
    if isinstance(value, np.ndarray):
        return {"array": str(value.dtype), "shape": list(value.shape), "values": value.reshape(-1).tolist()}
    if isinstance(value, range) or (type(value).__module__.startswith("torch") and not isinstance(value, tuple)):
        return {"text": repr(value).replace("torch.", "ingot.")}
    if type(value).__name__ == "Size":
        return {"text": repr(value).replace("torch.", "ingot.")}
    if isinstance(value, (tuple, list)):
        return [encode(v) for v in value]
    if isinstance(value, dict):
        return {"entries": [[k, encode(v)] for k, v in value.items()]}
    if isinstance(value, str):
        return {"string": value.replace("torch.", "ingot.")}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    return value


def main() -> None:
    import torch

    warnings.simplefilter("ignore")
    RECORDED.mkdir(exist_ok=True)
    for topic, codes in CALLS.items():
        lines = [json.dumps([code, encode(run(code, torch))]) for code in codes]
        (RECORDED / f"{topic}.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
