"""ONNX's own tests of operators and models, run over Ingot: all pass but those in exclusions.txt."""

import os
import warnings
from typing import Any

import pytest

pytest.importorskip("onnx", reason="the onnx package is an extra: pip install 'ingot[onnx]'")

from conformance import cases, exclusions, run_case

pytestmark = pytest.mark.slow

GROUPS = 8
# Compiled, rather than interpreted: one test of each kind of code; `make onnx-conformance EXECUTOR=native` runs all.
NATIVE = (
    "test_Conv3d_dilated_strided", "test_gemm_all_attributes", "test_if", "test_loop11", "test_lstm_with_peepholes",
    "test_maxpool_2d_ceil", "test_nonmaxsuppression_two_classes", "test_qlinearmatmul_2D_uint8_float32",
    "test_resize_upsample_scales_cubic", "test_scatternd_add",
)  # fmt: skip


@pytest.fixture(scope="module")
def every_case() -> list[Any]:
    return list(cases())


@pytest.mark.parametrize("group", range(GROUPS))
def test_cases_in_scope_pass(every_case: list[Any], group: int) -> None:
    listed = exclusions()
    failed = []
    for case in every_case[group::GROUPS]:
        if any(pattern.fullmatch(case.name) for pattern, _ in listed):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                run_case(case, "interpreter")
        except Exception as error:
            failed.append(f"{case.name}: {type(error).__name__}: {error}")
    assert not failed, "\n".join(failed)


def test_exclusions_are_needed(every_case: list[Any]) -> None:
    names = {case.name for case in every_case}
    for pattern, reason in exclusions():
        assert any(map(pattern.fullmatch, names)), f"{pattern.pattern} ({reason}) excludes no test"


@pytest.mark.skipif(bool(os.environ.get("INGOT_EXECUTOR")), reason="an executor is chosen already")
@pytest.mark.parametrize("name", NATIVE)
def test_compiled(every_case: list[Any], name: str) -> None:
    found = [case for case in every_case if case.name == name]
    assert found, f"there is no test {name}"
    run_case(found[0], "native")
