"""ONNX in and out: `load` makes a compiled callable of a model, `export` writes a graph as a model.

Needs the `onnx` package: `pip install 'ingot[onnx]'`.
"""

from .errors import OnnxError
from .exporter import export
from .model import OnnxModel, load

__all__ = ["OnnxError", "OnnxModel", "export", "load"]
