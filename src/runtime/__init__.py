"""Running compiled models, and nothing else: numpy and llvmlite are all that is imported.

>>> import numpy as np
>>> from ingot import jit, ones, runtime
>>> jit.trace(lambda x: x * 2, ones(3)).save("double.ingot")
>>> runtime.load("double.ingot")(np.ones(2, np.float32))
array([2., 2.], dtype=float32)
"""

from ..jit.errors import LoadError
from ..jit.runtime.pool import get_num_threads, set_num_threads
from .loading import load
from .model import Model

__all__ = ["LoadError", "Model", "get_num_threads", "load", "set_num_threads"]
