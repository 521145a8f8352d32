"""The script front end: Python source to graphs."""

from ..errors import ScriptError
from .api import ScriptFunction, ScriptModule, script
from .marks import Final, annotate, export, ignore, is_scripting, unused

__all__ = [
    "Final", "ScriptError", "ScriptFunction", "ScriptModule", "annotate", "export", "ignore", "is_scripting", "script",
    "unused",
]  # fmt: skip
