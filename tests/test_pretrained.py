"""Model folders: config.json beside safetensors files or shards; and the examples that load them."""

import json
import os
import sys
from pathlib import Path
from typing import Any, ClassVar

import ingot
import numpy as np
import pytest
from ingot import jit, nn
from ingot.ir.safetensors import write_safetensors
from ingot.pretrained import PretrainedModel, read_config, read_weights, write_weights

EXAMPLES = Path(__file__).parent.parent / "examples"


class Tied(PretrainedModel):
    """Two layers of one weight."""

    prefix = "body."
    renamed: ClassVar[dict[str, str]] = {r"\.gamma$": ".weight"}
    ignored = r"position_ids"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.table = nn.Embedding(config["size"], 4)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, config["size"], bias=False)
        self.tie_weights()

    def tie_weights(self) -> None:
        self.head.weight = self.table.weight

    def forward(self, x: Any) -> Any:
        return self.head(self.norm(self.table(x)))


def test_what_is_saved_loads_with_its_ties(tmp_path: Path) -> None:
    model = Tied({"size": 5})
    model.save_pretrained(tmp_path / "new")
    assert sorted(os.listdir(tmp_path / "new")) == ["config.json", "model.safetensors"]
    assert sorted(read_weights(tmp_path / "new")) == ["norm.bias", "norm.weight", "table.weight"]
    loaded = Tied.from_pretrained(tmp_path / "new")
    assert loaded.head.weight is loaded.table.weight
    assert not loaded.training
    assert loaded.config == {"size": 5}
    ids = ingot.tensor([[1, 4]])
    assert ingot.equal(loaded(ids), model(ids))


def test_names_of_other_programs_are_understood(tmp_path: Path) -> None:
    weights = {
        "body.table.weight": ingot.ones(3, 4),
        "body.norm.gamma": ingot.full((4,), 2.0),
        "body.norm.bias": ingot.zeros(4),
        "body.position_ids": ingot.arange(3),
    }
    write_weights(weights, tmp_path)
    (tmp_path / "config.json").write_text('{"size": 3}')
    model = Tied.from_pretrained(tmp_path, dtype=ingot.float64)
    assert model.norm.weight.tolist() == [2.0] * 4
    assert model.head.weight.dtype is ingot.float64
    assert read_config(tmp_path) == {"size": 3}


def test_shards_hold_what_fits_and_an_index_finds_it(tmp_path: Path) -> None:
    weights = {f"w{i}": ingot.full((10,), float(i)) for i in range(5)}
    write_weights(weights, tmp_path, max_shard_size=80)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert [path.name for path in shards] == [f"model-{i:05}-of-00003.safetensors" for i in (1, 2, 3)]
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": 200}
    loaded = read_weights(tmp_path)
    assert {name: tensor.tolist() for name, tensor in loaded.items()} == {
        name: tensor.tolist() for name, tensor in weights.items()
    }
    write_weights(weights, tmp_path)  # in one file again: the index goes
    assert not (tmp_path / "model.safetensors.index.json").exists()
    assert len(read_weights(tmp_path)) == 5


def test_a_write_to_a_mapped_tensor_stays_in_the_process(tmp_path: Path) -> None:
    write_weights({"w": ingot.zeros(3)}, tmp_path)
    mapped = read_weights(tmp_path)["w"]
    mapped += 1
    assert mapped.tolist() == [1, 1, 1]
    assert read_weights(tmp_path)["w"].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ({}, FileNotFoundError, "neither model.safetensors nor model.safetensors.index.json is there"),
        ({"model.safetensors": b""}, ValueError, "model.safetensors: the file is empty"),
        ({"model.safetensors": b"x" * 20}, ValueError, "model.safetensors: the header is said to have"),
        ({"model.safetensors.index.json": b"["}, ValueError, "index.json: not JSON"),
        ({"model.safetensors.index.json": b"[]"}, ValueError, "a JSON list, expected an object"),
        ({"model.safetensors.index.json": b'{"weight_map": 3}'}, ValueError, "weight_map is 3, expected file names"),
        (
            {"model.safetensors.index.json": b'{"weight_map": {"w": "../secret.safetensors"}}'},
            ValueError,
            "the shard '../secret.safetensors' is outside the model's folder",
        ),
        (
            {"model.safetensors.index.json": b'{"weight_map": {"w": "a.safetensors"}}'},
            FileNotFoundError,
            "the index names this shard, which is not there",
        ),
        (
            {
                "model.safetensors.index.json": b'{"weight_map": {"w": "a.safetensors", "v": "a.safetensors"}}',
                "a.safetensors": write_safetensors({"w": np.zeros(2)}),
            },
            ValueError,
            "index.json: v in no shard",
        ),
        (
            {
                "model.safetensors.index.json": b'{"weight_map": {"v": "a.safetensors"}}',
                "a.safetensors": write_safetensors({"w": np.zeros(2)}),
            },
            ValueError,
            "holds 'w', which the index places in None",
        ),
    ],
)
def test_damage_is_an_error_that_names_the_file(
    tmp_path: Path, files: dict[str, bytes], error: type[Exception], message: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        read_weights(tmp_path)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(write_safetensors({"w": np.zeros(2)}))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a.safetensors").symlink_to(tmp_path / "secret")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"w": "a.safetensors"}}')
    with pytest.raises(ValueError, match="outside the model's folder"):
        read_weights(folder)


def test_weights_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    write_weights({"table.weight": ingot.ones(3, 4), "norm.weight": ingot.ones(5), "other": ingot.ones(1)}, tmp_path)
    (tmp_path / "config.json").write_text('{"size": 3}')
    with pytest.raises(RuntimeError) as error:
        Tied.from_pretrained(tmp_path)
    for part in ("norm.bias", "other", "norm.weight"):
        assert part in str(error.value)


@pytest.fixture(scope="module")
def bert() -> Any:
    sys.path.insert(0, str(EXAMPLES))
    import bert

    return bert


@pytest.fixture(scope="module")
def gpt2() -> Any:
    sys.path.insert(0, str(EXAMPLES))
    import gpt2

    return gpt2


BERT = {
    "vocab_size": 20,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 12,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
}


def test_bert_embeds_sentences_of_any_length_with_one_compilation(bert: Any, tmp_path: Path) -> None:
    ingot.manual_seed(0)
    model = bert.BertModel(BERT)
    model.save_pretrained(tmp_path)
    embed = bert.compiled_embedder(tmp_path)
    ids = ingot.tensor([[3, 4, 5, 6, 0, 0], [7, 8, 0, 0, 0, 0]])
    mask = (ids != 0).long()
    embeddings = embed(ids, mask)
    assert embeddings.norm(dim=1).tolist() == pytest.approx([1, 1])
    with jit.no_compile():
        for row, length in ((0, 4), (1, 2)):  # what is masked does not count
            alone = embed(ids[row : row + 1, :length], mask[row : row + 1, :length])
            assert ingot.allclose(alone[0], embeddings[row], atol=1e-6)


GPT2 = {"vocab_size": 20, "n_embd": 8, "n_head": 2, "n_layer": 2, "n_positions": 32, "layer_norm_epsilon": 1e-5}


def test_gpt2_generates_with_its_cache_what_it_does_without(gpt2: Any, tmp_path: Path) -> None:
    ingot.manual_seed(0)
    gpt2.GPT2(GPT2).save_pretrained(tmp_path)
    model = gpt2.GPT2.from_pretrained(tmp_path)
    compiled = jit.script(model)
    prompt = ingot.tensor([[1, 2, 3], [4, 5, 6]])
    expected, ids = [], prompt
    for _ in range(6):
        with ingot.no_grad():
            scores = model(ids, model.empty_cache(2, ids.shape[1]), 0)
        expected.append(scores.argmax(-1).tolist())
        ids = ingot.cat([ids, scores.argmax(-1).unsqueeze(-1)], 1)
    assert [token.tolist() for token in gpt2.generate(model, prompt, 6)] == expected
    assert [token.tolist() for token in gpt2.generate(compiled, prompt, 6)] == expected
    with jit.no_compile():
        drawn = gpt2.generate(
            compiled, prompt[:1], 6, temperature=1.0, top_k=3, generator=ingot.Generator().manual_seed(1)
        )
        assert all(0 <= int(token) < 20 for token in drawn)
    with pytest.raises(ValueError, match="30 more are 33, and the model has 32 places"):
        next(gpt2.generate(model, prompt, 30))


def test_the_programs_read_a_folder_with_a_tokenizer(
    bert: Any, gpt2: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="the examples read text with the package tokenizers")
    words = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "the", "cat", "sat", "on", "mat"])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    for name, model in (("bert", bert.BertModel(BERT)), ("gpt2", gpt2.GPT2(GPT2))):
        model.save_pretrained(tmp_path / name)
        tokenizer.save(str(tmp_path / name / "tokenizer.json"))
    monkeypatch.setattr(sys, "argv", ["bert.py", str(tmp_path / "bert"), "the cat", "the cat sat on the mat"])
    bert.main()
    first, second = capsys.readouterr().out.splitlines()
    assert first == " 1.000  the cat"
    assert second.endswith("the cat sat on the mat")
    monkeypatch.setattr(sys, "argv", ["gpt2.py", str(tmp_path / "gpt2"), "the cat", "--tokens", "5"])
    gpt2.main()
    assert capsys.readouterr().out.startswith("the cat")
