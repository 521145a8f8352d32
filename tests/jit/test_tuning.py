"""Tiles chosen by measurement: what is tried, what is kept, and that results are right with any choice."""

import json
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit
from ingot.jit import tuning
from ingot.jit.codegen import tile_search
from ingot.jit.codegen.target import AVX2, NEON, SCALAR, detected_target, host_target, tile_shape
from ingot.jit.runtime import cache


@pytest.fixture
def clean(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    store = cache.Cache(tmp_path)
    monkeypatch.setattr(cache, "default_cache", lambda: store)
    monkeypatch.setattr(tuning, "_choice", None)
    monkeypatch.delenv("INGOT_TUNE", raising=False)
    return store


@pytest.mark.parametrize("target", [AVX2, NEON, SCALAR, detected_target()], ids=lambda t: t.name)
def test_candidates_are_valid_tiles_and_begin_with_the_model(target: Any) -> None:
    tried = tile_search.candidates(target)
    assert len(tried) == len(set(tried)) >= 3
    assert tile_shape(tried[0], "f32") == tile_shape(target, "f32") and tried[0].l2_bytes == target.l2_bytes
    for candidate in tried:
        assert tile_shape(candidate, "f64").rows == candidate.tile_rows
        # Few columns keep the model's tile: its height comes from the registers that are left.
        assert tile_shape(candidate, "f32", 1) == tile_shape(target, "f32", 1)


def test_a_choice_is_kept_and_used(clean: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    searches: list[int] = []
    detected = detected_target()
    rows = tile_shape(detected, "f32").rows - 2

    def search() -> tuning.TileChoice:
        # What a search compiles is for its candidates, not for a choice.
        assert tuning.chosen_tiles() is None
        searches.append(1)
        return tuning.TileChoice(rows, detected.l2_bytes // 2)

    monkeypatch.setattr(tile_search, "search_tiles", search)
    assert host_target() == detected
    choice = jit.tune()
    assert choice.rows == rows and searches == [1]
    assert host_target().tile_rows == rows and host_target().l2_bytes == detected.l2_bytes // 2
    monkeypatch.setattr(tuning, "_choice", None)
    assert jit.tune() == choice and searches == [1]
    monkeypatch.setattr(tuning, "_choice", None)
    monkeypatch.setenv("INGOT_TUNE", "1")
    assert tuning.chosen_tiles() == choice and searches == [1]
    assert jit.tune(again=True) == choice and searches == [1, 1]

    a, b = ingot.randn(37, 70), ingot.randn(70, 45)
    product = jit.trace(lambda a, b: (a @ b).relu(), (a, b), check_trace=False)
    np.testing.assert_allclose(product(a, b).numpy(), np.maximum(a.numpy() @ b.numpy(), 0), rtol=1e-4, atol=1e-4)
    assert f"tiles of {rows} x" in str(product.explain())


@pytest.mark.slow
def test_the_choice_is_part_of_the_key_of_a_program(clean: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    a = ingot.randn(3, 4)

    def program(x: ingot.Tensor) -> ingot.Tensor:
        return x @ x.T

    assert "measured" not in str(_compiled(program, a).explain())
    detected = detected_target()
    choice = tuning.TileChoice(tile_shape(detected, "f32").rows - 2, detected.l2_bytes)
    monkeypatch.setattr(tuning, "_choice", choice)
    assert "measured" in str(_compiled(program, a).explain())
    monkeypatch.setattr(tuning, "_choice", None)
    assert "measured" not in str(_compiled(program, a).explain())
    assert json.loads(json.dumps(vars(choice))) == {"rows": choice.rows, "l2_bytes": choice.l2_bytes}


def _compiled(program: Any, a: Any) -> Any:
    compiled = jit.trace(program, (a,), check_trace=False)
    np.testing.assert_allclose(compiled(a).numpy(), a.numpy() @ a.numpy().T, rtol=1e-5, atol=1e-5)
    return compiled


@pytest.mark.slow
def test_a_search_measures_every_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = tile_search.candidates(detected_target())
    some = [tried[0], tried[-1]]
    monkeypatch.setattr(tile_search, "candidates", lambda target: some)
    choice = tile_search.search_tiles(sizes=((5, 33, 40),))
    assert choice in [tuning.TileChoice(t.tile_rows, t.l2_bytes) for t in some]
