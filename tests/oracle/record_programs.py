"""Writes what PyTorch gives for the tutorial programs to `recorded/programs.json`.

Run it with `python tests/oracle/record_programs.py` where PyTorch is installed, after adding a program.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from tutorial_programs import PROGRAMS

RECORDED = Path(__file__).parent / "recorded" / "programs.json"


def plain(value: Any) -> Any:
    """A result as JSON data: tensors with dtype, shape and values of seven digits."""
    if hasattr(value, "requires_grad"):
        name = str(value.dtype).split(".")[-1]
        numbers = value.detach().reshape(-1).tolist()
        return {"tensor": name, "shape": list(value.shape), "values": [plain(v) for v in numbers]}
    if isinstance(value, dict):
        return [plain(v) for v in value.values()]
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.7g}") if np.isfinite(value) else str(value)
    if isinstance(value, str):
        return value.replace("torch", "ingot")
    return value


def main() -> None:
    """Run every program on PyTorch and write the file."""
    import torch

    warnings.simplefilter("ignore")
    found = {name: plain(program(torch)) for name, program in PROGRAMS.items()}
    RECORDED.write_text(
        "".join(["{\n", ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in found.items()), "\n}\n"])
    )


if __name__ == "__main__":
    main()
