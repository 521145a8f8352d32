"""Indices that wrap around: in range, one size out, and far out, forwards and backwards."""

import ingot
import numpy as np
from ingot import jit


def test_rolled_and_repeated() -> None:
    compiled = jit.trace(
        lambda x: (x.roll(3, 1), x.roll((-5, 40), (0, 1)), x.roll(1000), x.repeat(1, 3), x.repeat(2, 5, 1)),
        ingot.zeros(2, 3),
        check_trace=False,
    )
    for shape in ((1, 1), (2, 3), (7, 37), (40, 5)):
        array = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
        results = [r.numpy() for r in compiled(ingot.tensor(array))]
        expected = (
            np.roll(array, 3, 1),
            np.roll(array, (-5, 40), (0, 1)),
            np.roll(array, 1000),
            np.tile(array, (1, 3)),
            np.tile(array, (2, 5, 1)),
        )
        assert all(np.array_equal(r, e) for r, e in zip(results, expected, strict=True)), shape
