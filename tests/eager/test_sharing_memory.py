"""Tensors and arrays of other libraries over the same memory."""

import ingot
import numpy as np
import pytest


def test_dlpack_shares_memory_both_ways() -> None:
    x = ingot.arange(6).reshape(2, 3).transpose(0, 1)
    array = np.from_dlpack(x)
    assert np.shares_memory(array, x.numpy()) and array.tolist() == x.tolist()
    source = np.arange(4.0)[::2]
    shared = ingot.from_dlpack(source)
    shared.mul_(10)
    assert source.tolist() == [0.0, 20.0]
    assert x.__dlpack_device__() == (1, 0)


def test_what_requires_grad_is_not_shared() -> None:
    x = ingot.ones(2, requires_grad=True)
    with pytest.raises(BufferError, match="require gradient"):
        np.from_dlpack(x)
    with pytest.raises(RuntimeError, match="requires grad"):
        np.asarray(x)


def test_numpy_reads_the_memory_without_a_copy() -> None:
    x = ingot.ones(3)
    array = np.asarray(x)
    array[0] = 5
    assert x[0].item() == 5.0
    assert x.__array_interface__["data"][0] == x.data_ptr()


def test_operators_between_arrays_and_tensors_give_tensors() -> None:
    array, tensor = np.ones(3), ingot.ones(3, dtype=ingot.float64)
    for result in (array + tensor, tensor + array, array * tensor, array - tensor, array < tensor):
        assert isinstance(result, ingot.Tensor) and result.shape == (3,)


def test_buffers_are_read_in_place_and_checked() -> None:
    data = bytearray(np.arange(3, dtype=np.int32).tobytes())
    x = ingot.frombuffer(data, dtype=ingot.int32, offset=4)
    data[4] = 9
    assert x.tolist() == [9, 2]
    with pytest.raises(ValueError, match="multiple of element size"):
        ingot.frombuffer(bytearray(5), dtype=ingot.int32)
    with pytest.raises(ValueError, match="must not be 0"):
        ingot.frombuffer(bytearray(0), dtype=ingot.int32)


def test_notebooks_show_the_text_escaped() -> None:
    w = ingot.ones(1, requires_grad=True) * 2
    assert w._repr_html_() == "<pre>tensor([2.], grad_fn=&lt;MulBackward0&gt;)</pre>"


def test_bfloat16_crosses_dlpack_and_nothing_is_copied() -> None:
    x = ingot.tensor([[1.5, -2.0], [3.25, 4.0]], dtype=ingot.bfloat16)
    again = ingot.from_dlpack(x.t())
    assert again.dtype is ingot.bfloat16 and again.tolist() == [[1.5, 3.25], [-2.0, 4.0]]
    again += 1
    assert x.tolist() == [[2.5, -1.0], [4.25, 5.0]]
    capsule = ingot.utils.dlpack.to_dlpack(x)
    taken = ingot.utils.dlpack.from_dlpack(capsule)
    assert taken.data_ptr() == x.data_ptr()
    with pytest.raises((BufferError, ValueError)):
        ingot.utils.dlpack.from_dlpack(capsule)  # a capsule is taken once


def test_ufuncs_of_tensors_give_tensors() -> None:
    x = ingot.tensor([1.0, 4.0])
    for result, expected in ((np.sqrt(x), [1, 2]), (np.add(x, 1), [2, 5]), (np.multiply([2.0, 2.0], x), [2, 8])):
        assert isinstance(result, ingot.Tensor) and result.tolist() == expected
    with pytest.raises(RuntimeError, match="requires grad"):
        np.sqrt(x.clone().requires_grad_())


def test_elements_are_replaced_by_python_functions() -> None:
    x = ingot.tensor([[1, 2], [3, 4]])
    assert x.apply_(lambda v: v * 10) is x and x.tolist() == [[10, 20], [30, 40]]
    assert x.t().map_(ingot.tensor([1, 2]), lambda a, b: a + b).tolist() == [[11, 32], [21, 42]]
    assert x.tolist() == [[11, 21], [32, 42]]
