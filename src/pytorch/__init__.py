"""Models of PyTorch as Ingot modules: layer by layer where the classes are known, else through `torch.export`.

PyTorch is imported by the caller, never by this package: what it does with a model is read its attributes, its state
and the graph that `torch.export.export` made. The module that comes out needs no PyTorch.
"""

from .layers import from_torch

__all__ = ["from_torch"]
