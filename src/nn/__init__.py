"""Layers, losses and containers, with PyTorch's names, parameters and state dict keys."""

from . import functional, init, utils
from .activations import *
from .adaptive_softmax import *
from .attention import *
from .containers import *
from .conv import *
from .dropout import *
from .embedding import *
from .layers import *
from .lazy import *
from .loss import *
from .margins import *
from .module import Module
from .norm import *
from .padding import *
from .parameter import *
from .parameter_containers import *
from .piecewise import *
from .pooling import *
from .recurrent import *
from .vision import *
