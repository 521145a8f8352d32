"""Ingot: tensors with autograd and the PyTorch API, and a JIT that compiles whole Python models to native code.

The names are those of `ingot.namespace`. They are imported together when the first one is used, so that a program that
only loads a compiled model (`ingot.runtime`) does not wait for all of them.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .namespace import *

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Tools ask every module for names such as `__wrapped__`: that is no use of the package.
    if name.startswith("__") and name != "__all__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name != "namespace" and importlib.util.find_spec(f"{__name__}.{name}") is not None:
        return importlib.import_module(f".{name}", __name__)
    public = _public()
    if name == "__all__":
        return sorted(public)
    if name not in public:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return public[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *_public()})


def _public() -> dict[str, Any]:
    """The public names, which become attributes of this module."""
    module = importlib.import_module(".namespace", __name__)
    public = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    globals().update(public)
    return public
