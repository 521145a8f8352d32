"""ONNX's own backend tests over Ingot: runs them, counts them, and knows which are out of scope and why.

`python tests/onnx/conformance.py [native]` prints the count; `make onnx-conformance` does that.
"""

import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")
EXCLUSIONS = Path(__file__).with_name("exclusions.txt")


def exclusions() -> list[tuple[re.Pattern[str], str]]:
    """Patterns of test names that are out of scope, with the reason that stands over them in the file."""
    found: list[tuple[re.Pattern[str], str]] = []
    reason = ""
    for line in EXCLUSIONS.read_text().splitlines():
        if line.startswith("#"):
            reason = line.lstrip("# ").strip()
        elif line.strip():
            assert reason, f"{line} has no reason"
            found.append((re.compile(line.strip()), reason))
    return found


def cases(*kinds: str) -> Iterator[Any]:
    """The tests that the installed onnx package has."""
    from onnx.backend.test.loader import load_model_tests

    for kind in kinds or KINDS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # making the node tests divides by zero here and there
            yield from load_model_tests(kind=kind)


def _plain(value: Any) -> Any:
    import onnx

    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return value


def data_sets(case: Any) -> Iterator[tuple[list[Any], list[Any]]]:
    """Inputs and expected outputs of a test."""
    import onnx

    if case.data_sets is not None:
        for inputs, outputs in case.data_sets:
            yield [_plain(v) for v in inputs], [_plain(v) for v in outputs]
        return
    for folder in sorted(Path(case.model_dir).glob("test_data_set_*")):
        sides: list[list[Any]] = []
        for side in ("input", "output"):
            values = []
            for index in range(len(list(folder.glob(f"{side}_*.pb")))):
                tensor = onnx.TensorProto()
                tensor.ParseFromString((folder / f"{side}_{index}.pb").read_bytes())
                values.append(onnx.numpy_helper.to_array(tensor))
            sides.append(values)
        yield sides[0], sides[1]


def _compare(actual: Any, expected: Any, case: Any) -> None:
    if isinstance(expected, (list, tuple)):
        assert len(actual) == len(expected)
        for a, e in zip(actual, expected, strict=True):
            _compare(a, e, case)
        return
    if expected is None:
        assert actual is None
        return
    expected = np.asarray(expected)
    assert actual.dtype == expected.dtype, f"{actual.dtype} instead of {expected.dtype}"
    assert actual.shape == expected.shape, f"shape {actual.shape} instead of {expected.shape}"
    np.testing.assert_allclose(actual, expected, rtol=case.rtol, atol=case.atol)


def run_case(case: Any, executor: str) -> None:
    """Run a test; AssertionError or OnnxError where it does not pass."""
    from ingot.onnx import backend

    model = case.model if case.model is not None else str(Path(case.model_dir) / "model.onnx")
    prepared = backend.prepare(model, executor=executor)
    for inputs, outputs in data_sets(case):
        results = prepared.run(inputs)
        assert len(results) == len(outputs)
        _compare(list(results), outputs, case)


def main(executor: str) -> int:
    """Print how many tests pass, which fail, and how many are out of scope for which reason."""
    listed = exclusions()
    passed, failed, skipped = 0, list[str](), dict[str, int]()
    for case in cases():
        reason = next((r for p, r in listed if p.fullmatch(case.name)), "")
        if reason.startswith("out of scope"):
            skipped[reason] = skipped.get(reason, 0) + 1
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                run_case(case, executor)
            passed += 1
        except Exception as error:
            failed.append(f"{case.name}: {type(error).__name__}: {' '.join(str(error).split())[:160]}")
    for line in failed:
        print("FAILED", line)
    total = passed + len(failed)
    print(f"{passed} of {total} ONNX tests in scope pass ({100 * passed / total:.1f} %) with the {executor} executor")
    print(f"{sum(skipped.values())} tests are out of scope:")
    for reason, count in sorted(skipped.items(), key=lambda item: -item[1]):
        print(f"  {count:4} {reason.removeprefix('out of scope: ')}")
    return 0 if passed >= 0.95 * total else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "interpreter"))
