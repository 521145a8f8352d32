"""Calls of a device program whose launches are known: memory is taken, addresses are put in, kernels are launched.

What a call launches follows from the sizes of its arguments. Where it is not recorded as a graph, because its inputs
are too large to be copied, the plan is not walked again, either.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .cuda_launch import packed

__all__ = ["PreparedCall", "prepare_call"]


class PreparedCall:
    """A call for arguments of certain sizes, aligned to 16 bytes.

    `made` are the shapes and dtypes that it allocates, `steps` its launches: function, grid, block, shared bytes,
    arguments, and which of these are addresses of which array (arguments first, then what is made); `dropped` are for
    each launch the arrays that no later one needs, `results` the positions of the results.
    """

    def __init__(
        self, made: list[Any], steps: list[Any], dropped: list[list[int]], results: list[int], constants: list[Any]
    ) -> None:
        self._made = made
        self._steps = steps
        self._dropped = dropped
        self._results = results
        self._constants = constants  # whose addresses are among the arguments

    def __call__(self, arguments: Sequence[Any], empty: Callable[..., Any]) -> list[Any] | None:
        """The results; None where an argument is not aligned. `empty` makes an array of a shape and dtype."""
        arrays = list(arguments)
        places = [a.data.ptr for a in arrays]
        if any([place & 15 for place in places]):
            return None
        for shape, dtype in self._made:
            array = empty(shape, dtype)
            arrays.append(array)
            places.append(array.data.ptr)
        for (function, grid, block, shared, given, filled), dropped in zip(self._steps, self._dropped, strict=True):
            now = list(given)
            for position, source in filled:
                now[position] = np.int64(places[source])
            function(grid, block, tuple(now), shared_mem=shared)
            for position in dropped:
                arrays[position] = None
        return [arrays[position] for position in self._results]


def prepare_call(
    launches: Sequence[tuple[Any, Any, int, list[Any]]],
    function_of: Callable[[Any], Any],
    arguments: Sequence[Any],
    made: Sequence[Any],
    results: Sequence[Any],
) -> PreparedCall | None:
    """The call whose launches were noted; None where it cannot be told what an address stands for.

    `made` are the arrays that it allocated.
    """
    owners = [*arguments, *made]
    starts = {int(a.data.ptr): i for i, a in enumerate(owners) if a.nbytes}
    if len(starts) != sum(1 for a in owners if a.nbytes) or any(start & 15 for start in starts):
        return None  # an array is given twice, or none is aligned as the kernels were chosen for
    last: dict[int, int] = {}
    steps: list[Any] = []
    constants: list[Any] = []
    for number, (kernel, (grid, block, _), shared, given) in enumerate(launches):
        values, addresses = packed(kernel, given)
        arrays = [a for a in given if hasattr(a, "data") and hasattr(a, "nbytes")]
        filled = []
        for position, array in zip(addresses, arrays, strict=True):
            place = int(array.data.ptr)
            source = starts.get(place)
            if source is not None:
                filled.append((position, source))
                last[source] = number
            elif array.nbytes and any(s < place < s + owners[i].nbytes for s, i in starts.items()):
                return None
            else:
                constants.append(array)
        steps.append((function_of(kernel), grid, block, shared, values, filled))
    shapes: list[Any] = [(a.shape, a.dtype) for a in made]
    places = []
    for result in results:
        source = starts.get(int(result.data.ptr)) if result.nbytes else None
        if source is None or source < len(arguments) or source in places or owners[source].nbytes != result.nbytes:
            return None
        shapes[source - len(arguments)] = (result.shape, result.dtype)
        places.append(source)
    dropped: list[list[int]] = [[] for _ in launches]
    for source, number in last.items():
        if source >= len(arguments) and source not in places:
            dropped[number].append(source)
    return PreparedCall(shapes, steps, dropped, places, constants)
