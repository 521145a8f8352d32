"""The host's CPU features, and whether code that needs some may run."""

import pytest
from ingot.jit.runtime import targets


def test_the_host_satisfies_itself_and_its_level() -> None:
    features = targets.host_features()
    assert features
    assert targets.features_subset(targets.feature_string(features)) == []
    assert targets.host_cpu_name()
    assert targets.host_architecture() in targets.host_triple() or targets.host_triple().startswith("arm64")


def test_the_returned_features_are_a_copy() -> None:
    targets.host_features().clear()
    assert targets.host_features()


@pytest.mark.parametrize(
    ("required", "missing"),
    [
        ("", []),
        ("+avx2", []),
        ("+avx2,-avx512f", []),
        ("-avx2,-fma,-unheard-of", []),
        ("+avx2,+fma,+avx512f", ["fma", "avx512f"]),
        (" +fma , +unheard-of ", ["fma", "unheard-of"]),
        ("+fma,+fma", ["fma"]),
    ],
)
def test_missing_features_in_the_order_asked(required: str, missing: list[str]) -> None:
    assert targets.features_subset(required, {"avx2": True, "fma": False}) == missing


def test_levels() -> None:
    level_3 = {name: True for name in ("64bit", *targets.CPU_LEVELS["x86-64-v3"])}
    assert targets.features_subset("x86-64-v3", level_3) == []
    assert targets.features_subset("x86-64-v4,+sha", level_3) == [
        "avx512f",
        "avx512bw",
        "avx512cd",
        "avx512dq",
        "avx512vl",
        "sha",
    ]
    assert "64bit" in targets.features_subset("x86-64", {"neon": True})


@pytest.mark.parametrize("required", ["avx2", "+", "x86-64-v9", "+fma;+avx2,avx"])
def test_what_is_not_a_feature_list(required: str) -> None:
    with pytest.raises(ValueError, match="is not understood"):
        targets.features_subset(required, {})
