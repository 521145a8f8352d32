"""The threads of numpy's linear algebra library follow Ingot's."""

import ingot
import pytest
from ingot.jit.runtime.blas import blas_threads
from ingot.jit.runtime.cpus import available_cpus


def test_products_run_on_as_many_threads_as_were_set() -> None:
    if blas_threads() is None:
        pytest.skip("numpy was built with a library whose threads cannot be set")
    before = ingot.get_num_threads()
    try:
        for n in (1, 2):
            ingot.set_num_threads(n)
            assert blas_threads() == min(n, available_cpus())
    finally:
        ingot.set_num_threads(before)
    assert blas_threads() == min(before, available_cpus())
