"""Heavy eager ops by machine code: the same numbers as the op records, for all sizes, dtypes and layouts."""

import math
import os
import subprocess
import sys
import threading
import warnings
from typing import Any

import ingot
import ingot.nn.functional as F
import numpy as np
import pytest
from ingot import jit
from ingot.eager import native
from ingot.ir.ops._op import get_op
from ingot.jit.eager_kernels import library

TOLERANCE = {np.dtype(np.float32): 2e-4, np.dtype(np.float64): 1e-10}

# N, C, O, (H, W), kernel, stride, padding (top, bottom, left, right), dilation, groups
CONVOLUTIONS = [
    (3, 4, 8, (8, 8), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    (1, 1, 1, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    (3, 4, 6, (11, 13), (3, 2), (2, 3), (1, 2, 0, 1), (1, 1), 2),
    (2, 3, 5, (17, 40), (5, 7), (1, 2), (3, 3, 3, 3), (2, 1), 1),
    (1, 7, 7, (9, 70), (3, 3), (1, 1), (0, 0, 0, 0), (1, 1), 7),
    (2, 70, 33, (7, 7), (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), 1),
    (1, 130, 19, (5, 6), (3, 3), (1, 1), (2, 2, 2, 2), (2, 3), 1),
    (2, 3, 4, (1, 50), (1, 5), (1, 3), (0, 0, 4, 4), (1, 4), 1),
    (17, 2, 3, (3, 3), (3, 3), (1, 1), (0, 0, 0, 0), (1, 1), 1),
]


@pytest.fixture(autouse=True)
def everything_is_heavy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_MULTIPLY_ADDS", 1)
    monkeypatch.setattr(native, "_ELEMENTS", 1)
    monkeypatch.setattr(native, "_off", False)
    monkeypatch.setattr(library, "_loaded", {})  # each op asks for the kernels that it needs


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> Any:
    return np.dtype(request.param)


def numbers(dtype: Any, *shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def check(name: str, operands: tuple[Any, ...], attributes: dict[str, Any], equal: bool = False) -> Any:
    """The op's native form gives what its record does; returns that."""
    results = native.HEAVY[name](*operands, **attributes)
    assert results is not NotImplemented
    op = get_op(name)
    expected = op.evaluate(np, *operands, **attributes)  # type: ignore[misc]
    pairs = [(results, expected)] if isinstance(results, np.ndarray) else zip(results, expected, strict=True)
    for result, wanted in pairs:
        assert result.dtype == wanted.dtype and result.shape == wanted.shape and result.flags.c_contiguous
        if equal:
            np.testing.assert_array_equal(result, wanted)
        else:
            tolerance = TOLERANCE[result.dtype]
            scale = max(1.0, float(np.nanmax(np.abs(wanted), initial=0, where=np.isfinite(wanted))))
            np.testing.assert_allclose(result, wanted, rtol=tolerance, atol=tolerance * scale)
    return expected


def convolution(dtype: Any, case: Any) -> tuple[Any, Any, Any, dict[str, Any]]:
    n, c, o, size, kernel, stride, pads, dilation, groups = case
    geometry = {"stride": stride, "padding": pads, "dilation": dilation, "groups": groups}
    return (
        numbers(dtype, n, c, *size), numbers(dtype, o, c // groups, *kernel, seed=1), numbers(dtype, o, seed=2),
        geometry,
    )  # fmt: skip


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolution_and_its_gradients(dtype: Any, case: Any) -> None:
    x, w, bias, geometry = convolution(dtype, case)
    check("conv2d", (x, w, None), geometry)
    result = check("conv2d", (x, w, bias), geometry)
    gradient = numbers(dtype, *result.shape, seed=3)
    check("conv2d_input_grad", (gradient, w, x.shape[2:]), geometry)
    check("conv2d_weight_grad", (gradient, x, w.shape[2:]), geometry)


def test_convolution_of_other_layouts() -> None:
    x, w, bias, geometry = convolution(np.dtype(np.float32), CONVOLUTIONS[0])
    channels_last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    strided = np.repeat(x, 2, axis=3)[..., ::-2]
    for image in (channels_last, strided):
        result = check("conv2d", (image, w[::-1], bias[::-1]), geometry)
        check("conv2d_input_grad", (np.broadcast_to(np.float32(2), result.shape), w.swapaxes(2, 3), (8, 8)), geometry)
        check("conv2d_weight_grad", (result[:, ::-1], image, (3, 3)), geometry)
    check("conv2d", (x[0], w, bias), geometry)
    check("conv2d", (x, w, bias), {"stride": (1, 1), "padding": "same", "dilation": (1, 1), "groups": 1})
    line = {"stride": (2,), "padding": (1,), "dilation": (1,), "groups": 1}
    check("conv1d", (x[:, :, 0], w[:, :, 0], bias), line)


def test_large_results_own_their_memory() -> None:
    result = F.conv2d(ingot.ones(1, 1, 1100, 1000), ingot.ones(1, 1, 1, 1))
    assert result.storage_offset() == 0 and result.numpy().base is None


def test_convolution_keeps_nan_and_infinity_where_they_belong() -> None:
    x, w, _, geometry = convolution(np.dtype(np.float32), CONVOLUTIONS[0])
    x[0, 0, 0, 0], x[1, 2, 4, 4], x[2, 0, 7, 7] = np.nan, np.inf, -np.inf
    result = check("conv2d", (x, w, None), geometry)
    assert 0 < np.isnan(result).sum() < result.size / 8
    check("conv2d_weight_grad", (numbers(np.float32, *result.shape), x, (3, 3)), geometry)
    check("conv2d_input_grad", (np.where(np.isfinite(result), 1, result).astype(np.float32), w, (8, 8)), geometry)


def test_what_numpy_should_do() -> None:
    for x, w in (
        (np.ones((0, 1, 3, 3), np.float32), np.ones((1, 1, 2, 2), np.float32)),
        (np.ones((1, 0, 3, 3), np.float32), np.ones((1, 0, 2, 2), np.float32)),
        (np.ones((1, 1, 3, 3), np.float16), np.ones((1, 1, 2, 2), np.float16)),
        (np.ones((1, 1, 3, 3), np.int64), np.ones((1, 1, 2, 2), np.int64)),
        (np.ones((1, 1, 3, 3), ">f4"), np.ones((1, 1, 2, 2), ">f4")),
    ):
        geometry = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
        assert native.HEAVY["conv2d"](x, w, None, **geometry) is NotImplemented


WINDOWS = [
    {"kernel_size": (2,), "stride": None, "padding": (0,)},
    {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 1)},
    {"kernel_size": (3,), "stride": (2,), "padding": (1,), "ceil_mode": True},
    {"kernel_size": (2, 4), "stride": (3,), "padding": (1, 2), "ceil_mode": True},
    {"kernel_size": (1, 5), "stride": (1, 3), "padding": (0, 2)},
]


@pytest.mark.parametrize("window", WINDOWS)
def test_pooling(dtype: Any, window: dict[str, Any]) -> None:
    window = {"ceil_mode": False} | window
    x = numbers(dtype, 2, 3, 7, 11)
    x[0, 0, 2, 3], x[1, 1, 4, 4:6], x[0, 2] = np.nan, np.inf, -np.inf
    for dilation in ((1,), (2, 1)):
        largest = check("max_pool2d", (x, ), window | {"dilation": dilation}, equal=True)  # fmt: skip
        check("max_pool2d_grad", (numbers(dtype, *largest.shape), x), window | {"dilation": dilation})
    for more in ({"count_include_pad": True}, {"count_include_pad": False}):
        for divisor in (None, 3):
            options = window | more | {"divisor_override": divisor}
            mean = check("avg_pool2d", (numbers(dtype, 2, 3, 7, 11),), options)
            check("avg_pool2d_grad", (numbers(dtype, *mean.shape), (7, 11)), options)


def test_equal_maxima_send_the_gradient_to_the_first() -> None:
    x = np.zeros((1, 1, 4, 6), np.float32)
    g = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    check("max_pool2d_grad", (g, x), {"kernel_size": (2,), "stride": None, "padding": (0,), "dilation": (1,),
                                      "ceil_mode": False}, equal=True)  # fmt: skip


@pytest.mark.parametrize("shape", [(5, 3, 8), (2, 4, 3, 7), (1, 2, 33), (3, 1, 2, 2, 16)])
def test_batch_norm(dtype: Any, shape: tuple[int, ...]) -> None:
    x, weight, bias = numbers(dtype, *shape) + dtype.type(3), numbers(dtype, shape[1]), numbers(dtype, shape[1], seed=1)
    for operands in ((x, weight, bias), (x, None, None), (x, weight, None)):
        check("batch_norm_training", operands, {"eps": 1e-3})
    gradients = []
    for off in (False, True):
        native._off = off
        tensors = [ingot.tensor(a, requires_grad=True) for a in (x, weight, bias)]
        result = F.batch_norm(tensors[0], None, None, *tensors[1:], training=True, eps=1e-3)
        result.backward(ingot.tensor(numbers(dtype, *shape, seed=5)))
        gradients.append([t.grad.numpy() for t in tensors])
    for mine, theirs in zip(*gradients, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=10 * TOLERANCE[dtype], atol=10 * TOLERANCE[dtype])


ACTIVATIONS: list[tuple[str, dict[str, Any]]] = [
    ("silu", {}), ("gelu", {"approximate": "none"}), ("leaky_relu", {"negative_slope": 0.3}), ("relu6", {}),
    ("hardtanh", {"min_val": -0.5, "max_val": 1.5}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "attributes"), ACTIVATIONS)
def test_activations(dtype: Any, name: str, attributes: dict[str, Any]) -> None:
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 6.0, -0.5, 1.5, 1e-30, -1e-30, 300.0, -300.0]
    x = np.concatenate([np.linspace(-12, 12, 1001), special]).astype(dtype)
    gradient = numbers(dtype, x.size)
    results = []
    for off in (False, True):
        native._off = off
        leaf = ingot.tensor(x, requires_grad=True)
        result = getattr(F, name)(leaf, **attributes)
        result.backward(ingot.tensor(gradient))
        results.append([result.detach().numpy(), leaf.grad.numpy()])
    for mine, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=TOLERANCE[dtype] / 20, atol=30 * np.finfo(dtype).eps)
    if name != "gelu":
        assert native.activation_gradient(name.replace("relu6", "hardtanh"), gradient[1:], x) is NotImplemented


def test_gelu_is_exact() -> None:
    x = np.concatenate([np.linspace(-6, 6, 4001), np.geomspace(1e-20, 1e-2, 50)])
    for dtype in (np.float32, np.float64):
        given = x.astype(dtype)
        exact = [v * 0.5 * (1 + math.erf(v * math.sqrt(0.5))) for v in given.astype(np.float64)]
        result = native.HEAVY["gelu"](given, approximate="none")
        bound = 3 * np.finfo(dtype).eps * np.maximum(np.abs(given), np.abs(exact))
        assert (np.abs(result - exact) <= bound).all()


@pytest.mark.parametrize("shape", [(3, 8), (2, 5, 33), (1, 100), (70, 64)])
def test_softmax_and_its_logarithm(dtype: Any, shape: tuple[int, ...]) -> None:
    x = 30 * numbers(dtype, *shape)
    x[0, ..., 0] = -np.inf
    x[-1, ..., 1] = 800  # nothing else of its row is left
    for name, exact in (("softmax", 4), ("log_softmax", 8)):
        for dim in (-1, len(shape) - 1):
            result = native.HEAVY_SHORTCUTS[name](x, dim=dim, dtype=None)
            shifted = (x - x.max(-1, keepdims=True)).astype(np.longdouble)
            power = np.exp(shifted)
            expected = power / power.sum(-1, keepdims=True)
            if name == "log_softmax":
                expected = shifted - np.log(power.sum(-1, keepdims=True))
            bound = exact * np.finfo(dtype).eps
            least = np.finfo(dtype).tiny if name == "softmax" else 1
            np.testing.assert_allclose(result, expected.astype(dtype), rtol=bound, atol=bound * least)
        gradient = numbers(dtype, *shape, seed=1)
        found = native.softmax_gradient(name, gradient, result, -1, None)
        total = (gradient * (result if name == "softmax" else 1)).sum(-1, keepdims=True)
        wanted = (gradient - total) * result if name == "softmax" else gradient - np.exp(result) * total
        np.testing.assert_allclose(found, wanted, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    for bad in (np.nan, np.inf):
        x[0, ..., 2] = bad
        result = native.HEAVY_SHORTCUTS["softmax"](x, dim=-1, dtype=None)
        assert np.isnan(result[0]).all() and not np.isnan(result[1:]).any()
    x[0] = -np.inf
    assert np.isnan(native.HEAVY_SHORTCUTS["softmax"](x, dim=-1, dtype=None)[0]).all()


@pytest.mark.parametrize(("shape", "size"), [((3, 8), (8,)), ((67, 33), (33,)), ((2, 3, 4, 5), (4, 5)), ((17,), (17,))])
def test_layer_norm(dtype: Any, shape: tuple[int, ...], size: tuple[int, ...]) -> None:
    x, weight, bias = numbers(dtype, *shape) + dtype.type(5), numbers(dtype, *size), numbers(dtype, *size, seed=1)
    for operands in ((x, weight, bias), (x, None, None), (x, weight, None)):
        check("layer_norm", operands, {"normalized_shape": size, "eps": 1e-3})
    gradients = []
    for off in (False, True):
        native._off = off
        tensors = [ingot.tensor(a, requires_grad=True) for a in (x, weight, bias)]
        F.layer_norm(tensors[0], size, *tensors[1:]).backward(ingot.tensor(numbers(dtype, *shape, seed=5)))
        gradients.append([t.grad.numpy() for t in tensors])
    for mine, theirs in zip(*gradients, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=10 * TOLERANCE[dtype], atol=10 * TOLERANCE[dtype])


@pytest.mark.parametrize(("shape", "groups"), [((3, 6, 9), 2), ((19, 4, 2, 5), 4), ((1, 3, 17), 1), ((2, 8, 3, 3), 2)])
def test_group_norm(dtype: Any, shape: tuple[int, ...], groups: int) -> None:
    x, weight, bias = numbers(dtype, *shape), numbers(dtype, shape[1]), numbers(dtype, shape[1], seed=1)
    for operands in ((x, weight, bias), (x, None, None)):
        check("group_norm", operands, {"num_groups": groups, "eps": 1e-3})
    gradients = []
    for off in (False, True):
        native._off = off
        tensors = [ingot.tensor(a, requires_grad=True) for a in (x, weight, bias)]
        F.group_norm(tensors[0], groups, *tensors[1:]).backward(ingot.tensor(numbers(dtype, *shape, seed=5)))
        gradients.append([t.grad.numpy() for t in tensors])
    for mine, theirs in zip(*gradients, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=10 * TOLERANCE[dtype], atol=10 * TOLERANCE[dtype])


def test_gradients_reach_what_requires_them() -> None:
    x, w, bias, _ = convolution(np.dtype(np.float64), CONVOLUTIONS[0])
    results = []
    for off in (False, True):
        native._off = off
        tensors = [ingot.tensor(a, requires_grad=True) for a in (x, w, bias)]
        out = F.max_pool2d(F.conv2d(*tensors, padding=1).relu(), 2)
        (first,) = ingot.autograd.grad((out * out).sum(), tensors[1], create_graph=True)
        second = ingot.autograd.grad((first * first).sum(), tensors)
        results.append([out, first, *second])
    for mine, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(mine.detach().numpy(), theirs.detach().numpy(), rtol=1e-9, atol=1e-9)
    weight = ingot.tensor(w, requires_grad=True)
    F.conv2d(ingot.tensor(x), weight).sum().backward()
    assert weight.grad is not None


def test_relu_lets_pass_what_is_positive() -> None:
    x = ingot.tensor([np.nan, -1.0, 0.0, -0.0, 2.0, np.inf] * 7, requires_grad=True)
    x.relu().backward(ingot.tensor([np.nan, np.inf, 1.0, 1.0, 3.0, 4.0] * 7))
    assert x.grad.tolist() == [0, 0, 0, 0, 3, 4] * 7


def test_numbers_do_not_depend_on_threads() -> None:
    x, w, bias, geometry = convolution(np.dtype(np.float32), (9, 16, 40, (12, 13), (3, 3), (1, 1), (1,) * 4, (1, 1), 1))
    before = ingot.get_num_threads()
    found = []
    try:
        for count in (1, 2, 5):
            ingot.set_num_threads(count)
            y = native.HEAVY["conv2d"](x, w, bias, **geometry)
            found.append([
                y,
                native.HEAVY["conv2d_input_grad"](y, w, (12, 13), **geometry),
                native.HEAVY["conv2d_weight_grad"](y, x, (3, 3), **geometry),
                *native.HEAVY["batch_norm_training"](y, None, None, eps=1e-5),
            ])  # fmt: skip
    finally:
        ingot.set_num_threads(before)
    for others in found[1:]:
        for mine, theirs in zip(found[0], others, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_threads_at_the_same_time() -> None:
    x, w, bias, geometry = convolution(np.dtype(np.float32), (9, 16, 40, (12, 13), (3, 3), (1, 1), (1,) * 4, (1, 1), 1))
    expected = native.HEAVY["conv2d"](x, w, bias, **geometry)
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(20):
            if not np.array_equal(native.HEAVY["conv2d"](x, w, bias, **geometry), expected):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# -- when there are no kernels -----------------------------------------------------------------------------------------


def test_a_failed_compilation_is_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise ValueError("no such CPU")

    monkeypatch.setattr(library, "_load", fail)
    x, w = ingot.ones(1, 1, 3, 3), ingot.ones(1, 1, 2, 2)
    with pytest.warns(RuntimeWarning, match="runs on numpy, because .* no such CPU"):
        assert F.conv2d(x, w).tolist() == [[[[4, 4], [4, 4]]]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        F.conv2d(x, w)


def test_nothing_is_compiled_where_that_is_forbidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("INGOT_CACHE_DIR", str(tmp_path / "empty"))
    x, w = ingot.ones(1, 1, 3, 3), ingot.ones(1, 1, 2, 2)
    with jit.no_compile():
        assert F.conv2d(x, w).tolist() == [[[[4, 4], [4, 4]]]]
    assert not library._loaded


def test_a_trace_does_not_wait_for_kernels(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("INGOT_CACHE_DIR", str(tmp_path / "empty"))
    monkeypatch.setattr(library, "_PATIENCE", 3600.0)
    x, w = ingot.ones(1, 1, 3, 3), ingot.ones(1, 1, 2, 2)
    traced = jit.trace(lambda x, w: F.conv2d(x, w), (x, w), check_trace=False)
    assert "conv2d" in str(traced.graph) and not library._loaded
    # Where numpy has taken so long, they are compiled after all, as they are outside of traces.
    monkeypatch.setattr(library, "_PATIENCE", 0.0)
    emitted: list[Any] = []
    monkeypatch.setattr(library, "emit_object", lambda *_, **__: emitted.append(1) or b"")
    monkeypatch.setattr(library, "load_object", lambda *_: None)
    with library.running_once():
        assert not library.ready("convolution", np.dtype(np.float32))
    assert emitted


PROGRAM = """
import os, sys
import ingot, ingot.nn.functional as F
assert "llvmlite" not in sys.modules and "ingot.jit.eager_kernels.calls" not in sys.modules
x, w = ingot.ones(16, 16, 16, 16), ingot.ones(16, 16, 3, 3)
assert F.conv2d(ingot.ones(2, 3, 8, 8), ingot.ones(4, 3, 3, 3))[0, 0, 0, 0] == 27
assert "ingot.jit.eager_kernels.calls" not in sys.modules  # not enough work
assert (F.conv2d(x, w) == 144).all()
assert "numba" not in sys.modules
assert ("ingot.jit.eager_kernels.calls" in sys.modules) is (os.environ.get("INGOT_EAGER_KERNELS") != "0")
child = os.fork()
if not child:
    os._exit(0 if (F.conv2d(x, w) == 144).all() else 1)
assert os.waitpid(child, 0)[1] == 0
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("setting", ["", "0"])
def test_a_program_of_its_own(setting: str) -> None:
    environment = os.environ | {"INGOT_EAGER_KERNELS": setting}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], env=environment, capture_output=True, text=True
    )
    assert done.stdout == "done\n", done.stderr


def test_erf_is_fitted_once() -> None:
    """Eager kernels load without Numba and cannot import the coefficients, which are the compiler's all the same."""
    from ingot.jit.codegen.vector_math import activation_f32, activation_f64
    from ingot.jit.eager_kernels import activations

    assert tuple(map(np.float32, activations._NEAR["f32"])) == activation_f32.ERF_F32
    assert tuple(activations._NEAR["f64"]) == activation_f64.ERF_F64
    assert tuple(activations._TAIL["f64"]) == activation_f64.ERF_TAIL_F64
    assert activations._END["f64"] == activation_f64.ERF_LIMIT_F64
