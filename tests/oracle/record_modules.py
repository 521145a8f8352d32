"""Writes fingerprints of what PyTorch's layers, losses, optimisers and schedulers do to `recorded/modules.json`.

Run it with `python tests/oracle/record_modules.py` where PyTorch is installed, after adding cases.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from module_cases import MODULES, OPTIMISERS, SCHEDULERS, run_module, run_optimiser, run_scheduler

RECORDED = Path(__file__).parent / "recorded" / "modules.json"


def fingerprint(array: Any) -> list[Any]:
    """The shape of an array, its sum, and its product with fixed random weights."""
    values = np.asarray(array, np.float64).reshape(-1)
    weights = np.random.default_rng(len(values)).uniform(0.5, 1.5, len(values))
    return [list(np.shape(array)), float(f"{values.sum():.6g}"), float(f"{values @ weights:.6g}")]


def main() -> None:
    import torch

    warnings.simplefilter("ignore")
    recorded = {
        "modules": [[c, {k: fingerprint(v) for k, v in run_module(c, s, torch)}] for c, s in MODULES],
        "optimisers": {t: {k: fingerprint(v) for k, v in run_optimiser(t, torch)} for t in OPTIMISERS},
        "schedulers": {t: [[float(f"{v:.9g}") for v in row] for row in run_scheduler(t, torch)] for t in SCHEDULERS},
    }
    lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in recorded.items())
    RECORDED.write_text("{" + lines + "}\n")


if __name__ == "__main__":
    main()
