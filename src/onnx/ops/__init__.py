"""Emitters of ONNX operators, one file per family; importing this registers them."""

from . import (  # noqa: F401
    activation,
    control,
    conv,
    elementwise,
    indexing,
    linear,
    misc,
    ml,
    norm,
    pool,
    quantised,
    reduce,
    resize,
    rnn,
    sampling,
    sequence,
    shape,
)
