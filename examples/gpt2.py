"""GPT-2, in the names and the folder layout of the Hugging Face hub, generating text with a cache of keys and values.

    python examples/gpt2.py FOLDER "Once upon a time" --tokens 40 --temperature 0.8 --top-k 50

The folder holds `config.json`, `model.safetensors` (or shards and their index) and `tokenizer.json`. The model is
scripted: the prompt and every single token after it, wherever in the text it is, run the same compiled code. Needs
`pip install tokenizers`.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ingot
from ingot import jit, nn
from ingot.nn import functional as F
from ingot.pretrained import PretrainedModel


class Projection(nn.Module):
    """A linear layer whose weight is stored as (in, out), as GPT-2's files have it."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(ingot.randn(width_in, width_out) * 0.02)
        self.bias = nn.Parameter(ingot.zeros(width_out))

    def forward(self, x: ingot.Tensor) -> ingot.Tensor:
        return x @ self.weight + self.bias


class Attention(nn.Module):
    """Causal self-attention that keeps the keys and values of all places before in a cache.

    `x` is (N, T, width), for the places `position` to `position + T`; `cache` is (2, N, heads, places, width / heads).
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.c_attn = Projection(width, 3 * width)
        self.c_proj = Projection(width, width)

    def forward(self, x: ingot.Tensor, cache: ingot.Tensor, position: int) -> ingot.Tensor:
        batch, length, width = x.shape
        projected = self.c_attn(x).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        end = position + length
        cache[:, :, :, position:end] = projected[1:]
        places = ingot.arange(end)
        mask = places[position:].unsqueeze(1) >= places
        attended = F.scaled_dot_product_attention(
            projected[0], cache[0, :, :, :end], cache[1, :, :, :end], attn_mask=mask
        )
        return self.c_proj(attended.transpose(1, 2).reshape(batch, length, width))


class MLP(nn.Module):
    """The network of two layers that each place goes through."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.c_fc = Projection(width, inner)
        self.c_proj = Projection(inner, width)

    def forward(self, x: ingot.Tensor) -> ingot.Tensor:
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    """Attention and the network, each added to what it was given."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width = config["n_embd"]
        epsilon = config["layer_norm_epsilon"]
        self.ln_1, self.ln_2 = nn.LayerNorm(width, eps=epsilon), nn.LayerNorm(width, eps=epsilon)
        self.attn = Attention(width, config["n_head"])
        self.mlp = MLP(width, config.get("n_inner") or 4 * width)

    def forward(self, x: ingot.Tensor, cache: ingot.Tensor, position: int) -> ingot.Tensor:
        x = x + self.attn(self.ln_1(x), cache, position)
        return x + self.mlp(self.ln_2(x))


class GPT2(PretrainedModel):
    """The scores of every token for the place after the last one: token ids (N, T) to (N, vocabulary)."""

    prefix = "transformer."
    ignored = r"attn\.(masked_)?bias$|^lm_head\."

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        width = config["n_embd"]
        self.wte = nn.Embedding(config["vocab_size"], width)
        self.wpe = nn.Embedding(config["n_positions"], width)
        self.h = nn.ModuleList([Block(config) for _ in range(config["n_layer"])])
        self.ln_f = nn.LayerNorm(width, eps=config["layer_norm_epsilon"])

    def empty_cache(self, batch: int, places: int) -> ingot.Tensor:
        """The memory for the keys and values of all layers."""
        heads, width = self.config["n_head"], self.config["n_embd"]
        return ingot.zeros(len(self.h), 2, batch, heads, places, width // heads)

    def forward(self, ids: ingot.Tensor, cache: ingot.Tensor, position: int) -> ingot.Tensor:
        """The next token's scores for `ids`, which follow `position` places that the cache knows; writes the cache."""
        x = self.wte(ids) + self.wpe.weight[position : position + ids.shape[1]]
        for index, block in enumerate(self.h):
            x = block(x, cache[index], position)
        return self.ln_f(x[:, -1]) @ self.wte.weight.T


def generate(
    model: Any,
    ids: ingot.Tensor,
    tokens: int,
    *,
    temperature: float = 0.0,
    top_k: int = 0,
    generator: ingot.Generator | None = None,
) -> Iterator[ingot.Tensor]:
    """The `tokens` that follow `ids` (N, T), one (N,) at a time: the likeliest, or drawn where `temperature` is not 0.

    `model` is a GPT2 or the compiled form of one. `top_k` leaves only so many tokens to draw from.
    """
    config = model.config
    if ids.shape[1] + tokens > config["n_positions"]:
        raise ValueError(
            f"{ids.shape[1]} tokens and {tokens} more are {ids.shape[1] + tokens}, and the model has "
            f"{config['n_positions']} places"
        )
    cache = model.empty_cache(ids.shape[0], ids.shape[1] + tokens)
    position = 0
    for _ in range(tokens):
        with ingot.no_grad():
            scores = model(ids, cache, position)
        position += ids.shape[1]
        if temperature == 0:
            chosen = scores.argmax(-1)
        else:
            if top_k:
                least = scores.topk(top_k).values[:, -1:]
                scores = scores.masked_fill(scores < least, float("-inf"))
            chosen = ingot.multinomial(F.softmax(scores / temperature, -1), 1, generator=generator).squeeze(-1)
        yield chosen
        ids = chosen.unsqueeze(-1)


def main() -> None:
    """Continue a text."""
    from tokenizers import Tokenizer

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("prompt")
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--temperature", type=float, default=0.0, help="0 takes the likeliest token (the default)")
    parser.add_argument("--top-k", type=int, default=0, help="draw from so many of the likeliest tokens")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(Path(options.folder) / "tokenizer.json"))
    model = jit.script(GPT2.from_pretrained(options.folder))
    ids = tokenizer.encode(options.prompt).ids
    generator = ingot.Generator()
    generator.manual_seed(options.seed)
    settings = {"temperature": options.temperature, "top_k": options.top_k, "generator": generator}
    print(options.prompt, end="")
    text = ""
    for token in generate(model, ingot.tensor([ids]), options.tokens, **settings):
        ids.append(int(token))
        longer = tokenizer.decode(ids[-options.tokens - 8 :])
        text, new = longer, longer.removeprefix(text)
        print(new, end="")
        sys.stdout.flush()
    print()


if __name__ == "__main__":
    main()
