"""Kernels of ops that are written out as loops, by op. Operands lie in memory, contiguous."""

from collections.abc import Callable

from ...ir.core import Instruction
from .counting import run_bincount, run_unique
from .driver import Driver
from .factoring import FACTORING
from .fourier import FOURIER
from .grid_sampling import run_grid_sample, run_grid_sample_gradient
from .image_pools import run_pool, run_pool_gradient
from .ordering import run_sort, run_topk
from .pooling import run_max_pool_with_indices
from .resampling import run_nearest, run_resample, run_resample_gradient
from .running import run_logcumsumexp, running_extreme
from .scans import extreme_and_place, place_of_extreme, scan
from .searching import run_searchsorted
from .writes import run_index_add, run_index_put, run_nonzero, run_scatter

__all__ = ["EMITTERS"]

EMITTERS: dict[str, Callable[[Driver, Instruction], None]] = {
    "argmax": place_of_extreme(">"),
    "argmin": place_of_extreme("<"),
    "max_dim": extreme_and_place(">"),
    "min_dim": extreme_and_place("<"),
    "cummax": running_extreme(">"),
    "cummin": running_extreme("<"),
    "logcumsumexp": run_logcumsumexp,
    "bincount": run_bincount,
    "unique": run_unique,
    "cumsum": scan("+", 0),
    "cumprod": scan("*", 1),
    "searchsorted": run_searchsorted,
    "sort": run_sort,
    "topk": run_topk,
    "scatter": run_scatter,
    "scatter_add": run_scatter,
    "scatter_reduce": run_scatter,
    "index_add": run_index_add,
    "index_put": run_index_put,
    "nonzero": run_nonzero,
    "max_pool2d_with_indices": run_max_pool_with_indices,
    "max_pool2d": run_pool,
    "avg_pool2d": run_pool,
    "max_pool2d_grad": run_pool_gradient,
    "avg_pool2d_grad": run_pool_gradient,
    "resample": run_resample,
    "resample_grad": run_resample_gradient,
    "interpolate": run_nearest,
    "grid_sample": run_grid_sample,
    "grid_sample_grad": run_grid_sample_gradient,
    **FACTORING,
    **FOURIER,
}
