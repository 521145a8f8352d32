"""The files that docs/generate.py writes are what it would write now."""

import importlib.util
from pathlib import Path
from types import ModuleType

import ingot
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_list_of_operations_follows_from_the_records(generator: ModuleType) -> None:
    assert generator.OPS.read_text() == generator.ops_document(), f"run `{generator.COMMAND}`"


def test_the_stub_of_tensor_follows_from_the_records(generator: ModuleType) -> None:
    assert generator.STUB.read_text() == generator.stub(), f"run `{generator.COMMAND}`"


def test_the_language_reference_follows_from_the_conformance_suite(generator: ModuleType) -> None:
    assert generator.LANGUAGE.read_text() == generator.language_document(), f"run `{generator.COMMAND}`"


def test_the_stub_has_every_public_method(generator: ModuleType) -> None:
    text = generator.STUB.read_text()
    written = generator._written_in_class()
    missing = [n for n in dir(ingot.Tensor) if n[0] != "_" and n not in written and f"def {n}(" not in text]
    assert not missing
