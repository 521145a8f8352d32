"""What a command returns: text for people, data for programs, and the exit code."""

import json
import math
import os
from dataclasses import dataclass
from typing import Any

__all__ = ["Result", "to_json"]


@dataclass(frozen=True)
class Result:
    """The outcome of a command: `text` is printed, or with `--json` the `data`."""

    text: str
    data: Any
    code: int = 0


def to_json(data: Any) -> str:
    """Data as one line of valid JSON: numbers that JSON does not have become strings.

    >>> to_json({"loss": float("nan"), "n": 3})
    '{"loss": "nan", "n": 3}'
    """
    return json.dumps(_plain(data), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, complex):
        return str(value)
    return os.fspath(value) if isinstance(value, os.PathLike) else value
