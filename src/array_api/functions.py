"""Ingot's public functions as one object; most are made at import, out of sight of type checkers."""

from typing import Any

from .. import namespace as _module

namespace: Any = _module
