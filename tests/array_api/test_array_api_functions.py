"""The array API namespace: names, signatures, dtypes and values as the reference implementation of the standard has."""

import inspect
from collections.abc import Iterator
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import array_api as xp

strict = pytest.importorskip("array_api_strict", reason="the reference implementation of the array API standard")

DTYPES = [
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float32",
    "float64",
    "complex64",
    "complex128",
]
SHAPES: list[tuple[int, ...]] = [(), (3,), (0, 2), (1, 4, 2)]
OF_THE_REFERENCE = {
    "ArrayAPIStrictFlags",
    "Device",
    "ModuleType",
    "ALL_DEVICES",
    "DType",
    "Array",
    "Literal",
    "NamedTuple",
}

Case = tuple[str, str, list[Any], dict[str, Any]]


def values(random: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    if dtype == "bool":
        return random.integers(0, 2, shape).astype(bool)
    if "int" in dtype:
        return random.integers(1 if dtype[0] == "u" else -5, 6, shape).astype(dtype)
    result = random.standard_normal(shape)
    return (result + 1j * random.standard_normal(shape) if dtype[0] == "c" else result).astype(dtype)


def elementwise() -> Iterator[Case]:
    random = np.random.default_rng(0)
    special = np.array([0.0, -0.0, 1, -1, 2, 0.5, np.inf, -np.inf, np.nan, 1e-30, 3.5, 2.5, -0.5, -1.5])
    for name, function in vars(strict).items():
        if not inspect.isfunction(function) or "_elementwise_functions" not in function.__module__ or name == "clip":
            continue
        positional = [one for one in inspect.signature(function).parameters.values() if one.kind is one.POSITIONAL_ONLY]
        for dtype in DTYPES:
            if len(positional) == 1:
                for shape in SHAPES:
                    yield "", name, [values(random, dtype, shape)], {}
                if dtype[0] == "f":
                    yield "", name, [special.astype(dtype)], {}
                continue
            for shapes in [((2, 3), (3,)), ((2, 1), (1, 3)), ((0, 2), (2,)), ((3,), ())]:
                first, second = (values(random, dtype, shape) for shape in shapes)
                # Division of integers by 0 and negative powers and shifts are not defined.
                yield "", name, [first, np.abs(second) + (second == 0) if "int" in dtype else second], {}
            if dtype[0] == "f":
                yield "", name, [special.astype(dtype)[:, None], special.astype(dtype)], {}
            if dtype != "bool":
                yield "", name, [values(random, dtype, (3,)), 2 if "int" in dtype else 1.5], {}
        if len(positional) == 2:
            for one, other in [("int8", "int64"), ("float32", "float64"), ("uint8", "int16"), ("int32", "int8")]:
                yield "", name, [values(random, one, (3,)), np.abs(values(random, other, ())) + 1], {}


def reductions() -> Iterator[Case]:
    random = np.random.default_rng(1)
    for name in ["all", "any", "max", "mean", "min", "prod", "std", "sum", "var", "count_nonzero", "argmax", "argmin"]:
        for dtype in DTYPES:
            for shape in SHAPES:
                for axis in [None, 0, -1, (0, 1)]:
                    yield "", name, [values(random, dtype, shape)], {"axis": axis, "keepdims": shape != (3,)}
    for name in ["std", "var"]:
        yield "", name, [values(random, "float64", (5, 4))], {"axis": 0, "correction": 1.0}
    for dtype in DTYPES:
        for name in ["cumulative_sum", "cumulative_prod"]:
            yield "", name, [values(random, dtype, (4,))], {}
            yield "", name, [values(random, dtype, (2, 3))], {"axis": 0, "include_initial": True}
            yield "", name, [values(random, dtype, (0, 3))], {"axis": 0, "include_initial": True}
        if dtype != "bool":
            yield "", "diff", [values(random, dtype, (3, 4))], {"axis": 0, "n": 2}


def manipulation() -> Iterator[Case]:
    random = np.random.default_rng(2)
    for dtype in DTYPES:
        x = values(random, dtype, (3, 4, 2))
        rows = [values(random, dtype, (2, 3)), values(random, dtype, (2, 1))]
        yield "", "concat", [rows], {"axis": -1}
        yield "", "concat", [rows], {"axis": None}
        yield "", "stack", [[rows[0], rows[0]]], {"axis": -1}
        for axis in [1, -1, (0, 2)]:
            yield "", "expand_dims", [x], {"axis": axis}
        for axis in [None, 0, (0, 2)]:
            yield "", "flip", [x], {"axis": axis}
        yield "", "moveaxis", [x, (0, 1), (1, 2)], {}
        yield "", "permute_dims", [x, (2, 0, 1)], {}
        yield "", "repeat", [x, 2], {}
        yield "", "repeat", [x, np.array([1, 0, 2])], {"axis": 0}
        yield "", "reshape", [x, (-1, 4)], {}
        yield "", "reshape", [values(random, dtype, (1,)), ()], {"copy": True}
        yield "", "roll", [x, 2], {}
        yield "", "roll", [x, 1], {"axis": (0, 1)}
        yield "", "roll", [x, (1, -2)], {"axis": (0, 2)}
        yield "", "squeeze", [values(random, dtype, (1, 3, 1))], {"axis": (0, 2)}
        yield "", "squeeze", [values(random, dtype, (1, 3, 1))], {"axis": 1}
        yield "", "take", [x, np.array([0, 2, -1])], {"axis": 0}
        yield "", "take_along_axis", [x, random.integers(-4, 4, (3, 2, 2))], {"axis": 1}
        for repetitions in [(2,), (2, 1, 1), (2, 1, 1, 2)]:
            yield "", "tile", [x, repetitions], {}
        yield "", "unstack", [x], {"axis": 1}
        yield "", "tril", [x], {"k": 1}
        yield "", "triu", [x], {"k": -1}
        yield (
            "",
            "where",
            [values(random, "bool", (3, 1)), values(random, dtype, (3, 4)), values(random, dtype, (4,))],
            {},
        )
        for bounds in [(None, None), (1, None), (None, 2), (1, 2)]:
            yield "", "clip", [x, *bounds], {}


def searching() -> Iterator[Case]:
    random = np.random.default_rng(3)
    for dtype in DTYPES:
        x = values(random, dtype, (3, 4, 2))
        for descending in [False, True]:
            yield "", "sort", [x], {"axis": 1, "descending": descending}
            yield "", "argsort", [x], {"axis": 0, "descending": descending}
        for name in ["unique_all", "unique_counts", "unique_inverse", "unique_values"]:
            for shape in [(), (7,), (3, 4), (0,)]:
                yield "", name, [values(random, dtype, shape)], {}
        yield "", "nonzero", [x], {}
        yield "", "nonzero", [values(random, dtype, ())], {}
        yield "", "isin", [x, values(random, dtype, (2,))], {}
        for side in ["left", "right"]:
            yield "", "searchsorted", [np.sort(values(random, dtype, (5,))), x[0]], {"side": side}


def linear_algebra() -> Iterator[Case]:
    random = np.random.default_rng(4)
    for dtype in DTYPES:
        x = values(random, dtype, (3, 4, 2))
        for shapes in [((2, 3), (3, 4)), ((3,), (3, 4)), ((2, 2, 3), (3,)), ((5, 2, 3), (1, 3, 2))]:
            yield "", "matmul", [values(random, dtype, shape) for shape in shapes], {}
        yield "", "matrix_transpose", [x], {}
        yield "", "tensordot", [x, values(random, dtype, (4, 2, 3))], {"axes": ((1, 2), (0, 1))}
        yield "", "tensordot", [x, values(random, dtype, (2,))], {"axes": 0}
        yield "", "vecdot", [x, values(random, dtype, (3, 4, 1))], {"axis": -2}
        yield "linalg", "cross", [values(random, dtype, (4, 3)), values(random, dtype, (4, 3))], {}
        yield "linalg", "outer", [values(random, dtype, (3,)), values(random, dtype, (2,))], {}
        yield "linalg", "diagonal", [x], {"offset": 1}
        yield "linalg", "trace", [x], {"offset": -1}
        for axis in [None, 0, (0, 1)]:
            for order in [2, 1, 0, 3, float("inf"), -float("inf")]:
                yield "linalg", "vector_norm", [x], {"axis": axis, "ord": order, "keepdims": axis == 0}
    for dtype in ["float32", "float64", "complex64", "complex128"]:
        matrices = values(random, dtype, (2, 3, 3))
        positive = (matrices @ np.conj(np.swapaxes(matrices, -1, -2)) + 3 * np.eye(3)).astype(dtype)
        for name in ["det", "inv", "slogdet", "svdvals", "pinv", "eigvalsh", "matrix_rank"]:
            yield "linalg", name, [positive], {}
        yield "linalg", "cholesky", [positive], {"upper": True}
        for norm in ["fro", "nuc", 1, 2, float("inf"), -1, -2]:
            yield "linalg", "matrix_norm", [matrices], {"ord": norm, "keepdims": norm == 1}
        yield "linalg", "solve", [positive, values(random, dtype, (2, 3, 2))], {}
        yield "linalg", "solve", [positive, values(random, dtype, (3,))], {}
        yield "linalg", "matrix_power", [positive, -2], {}
        yield "linalg", "matrix_rank", [np.zeros((3, 3), dtype)], {}


def fourier() -> Iterator[Case]:
    random = np.random.default_rng(5)
    for dtype in ["float32", "float64", "complex64", "complex128"]:
        x = values(random, dtype, (4, 5))
        for name in ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"]:
            for options in [{}, {"n": 6}, {"axis": 0}, {"norm": "ortho"}, {"norm": "forward"}]:
                yield "fft", name, [x], options
        for name in ["fftn", "ifftn", "rfftn", "irfftn"]:
            for options in [{}, {"axes": (0, 1)}, {"axes": (1,)}, {"s": (3, 4), "axes": (0, 1)}, {"norm": "ortho"}]:
                yield "fft", name, [x], options
        yield "fft", "fftshift", [x], {"axes": 0}
        yield "fft", "ifftshift", [x], {}


def to_numpy(result: Any) -> Any:
    if isinstance(result, ingot.Tensor):
        return result.numpy()
    if isinstance(result, tuple | list):
        return [to_numpy(one) for one in result]
    return np.asarray(result)


def assert_same(given: Any, expected: Any, case: Case) -> None:
    if isinstance(expected, list):
        assert len(given) == len(expected), case
        for one, other in zip(given, expected, strict=True):
            assert_same(one, other, case)
        return
    assert (given.dtype, given.shape) == (expected.dtype, expected.shape), case
    if expected.dtype.kind in "fc":
        single = expected.dtype in (np.float32, np.complex64)
        np.testing.assert_allclose(given, expected, 1e-5 if single else 1e-9, 1e-6, err_msg=str(case))
    else:
        np.testing.assert_array_equal(given, expected, str(case))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    "cases",
    [elementwise, reductions, manipulation, searching, linear_algebra, fourier],
    ids=lambda cases: cases.__name__,
)
def test_results_are_those_of_the_reference(cases: Any) -> None:
    compared = 0
    for case in cases():
        namespace, name, arguments, options = case
        reference, ours = (getattr(module, namespace) if namespace else module for module in (strict, xp))

        def converted(convert: Any, arguments: list[Any] = arguments) -> list[Any]:
            return [
                [convert(one) for one in argument]
                if isinstance(argument, list)
                else convert(argument)
                if isinstance(argument, np.ndarray)
                else argument
                for argument in arguments
            ]

        try:
            expected = getattr(reference, name)(*converted(strict.asarray), **options)
        except (TypeError, ValueError, IndexError, ZeroDivisionError, AttributeError, UserWarning):
            continue  # the reference refuses what the standard leaves open
        assert_same(to_numpy(getattr(ours, name)(*converted(xp.asarray), **options)), to_numpy(expected), case)
        compared += 1
    assert compared > 100


@pytest.mark.parametrize("namespace", ["", "linalg", "fft"])
def test_names_and_signatures_are_those_of_the_standard(namespace: str) -> None:
    reference, ours = (getattr(module, namespace) if namespace else module for module in (strict, xp))
    public = {name for name, value in vars(reference).items() if not name.startswith("_")} - OF_THE_REFERENCE
    functions = {
        name
        for name in public - {"normalize_axis_tuple", "requires_api_version", "requires_extension"}
        if inspect.isfunction(getattr(reference, name)) and hasattr(ours, name)
    }
    for name in functions:
        expected, given = (inspect.signature(getattr(module, name)) for module in (reference, ours))
        assert [(one.name, one.kind) for one in given.parameters.values()] == [
            (one.name, one.kind) for one in expected.parameters.values()
        ], name
    if not namespace:
        assert {name for name in public if not hasattr(xp, name) and "flags" not in name} == set()
    assert len(functions) > (130 if not namespace else 10)


def test_a_tensor_names_its_namespace() -> None:
    x = ingot.ones(2)
    assert x.__array_namespace__() is xp
    assert x.__array_namespace__(api_version="2023.12") is xp
    with pytest.raises(ValueError, match=r"api_version '2020\.01', expected one of 2021\.12"):
        x.__array_namespace__(api_version="2020.01")
    assert x.to_device("cpu").device == ingot.device("cpu")
    information = xp.__array_namespace_info__()
    assert information.dtypes(kind="real floating") == {"float32": xp.float32, "float64": xp.float64}
    assert information.default_dtypes()["integral"] is xp.int64


def test_copies_are_made_as_asked() -> None:
    array = np.zeros(3)
    shared = xp.asarray(array)
    shared[0] = 1
    assert array[0] == 1
    copied = xp.asarray(array, copy=True)
    copied[0] = 5
    assert array[0] == 1
    with pytest.raises(ValueError, match="copy=False"):
        xp.asarray(array, dtype=xp.float32, copy=False)
    with pytest.raises(ValueError, match="copy=False, but a list holds no memory"):
        xp.asarray([1], copy=False)
    with pytest.raises(ValueError, match="copy=False"):
        xp.reshape(xp.matrix_transpose(xp.ones((2, 3))), (6,), copy=False)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: xp.sin(xp.asarray([1])), TypeError, "sin: got a tensor of ingot.int64, expected real floating"),
        (lambda: xp.add(xp.asarray([1]), 1.5), TypeError, "add: 1.5 beside a tensor of ingot.int64"),
        (lambda: xp.add(xp.asarray([1], dtype=xp.int8), 300), OverflowError, "add: 300 does not fit ingot.int8"),
        (lambda: xp.max(xp.zeros((0, 2)), axis=0), ValueError, "max over an axis of size 0"),
        (lambda: xp.sum(xp.zeros((2, 2)), axis=2), IndexError, "axis 2 of a tensor of 2 dimensions"),
        (lambda: xp.squeeze(xp.zeros((2, 1)), axis=0), ValueError, "axis 0 has size 2, expected 1"),
        (lambda: xp.astype(xp.ones(1, dtype=xp.complex64), xp.float32), TypeError, r"take xp\.real\(x\)"),
        (lambda: xp.isdtype(xp.int8, "whole"), ValueError, "kind 'whole', expected a dtype or one of"),
        (lambda: xp.zeros(2, device="tpu"), RuntimeError, "tpu"),
    ],
)
def test_misuse_is_explained(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
