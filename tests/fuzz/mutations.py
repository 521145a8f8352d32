"""Damage to ingots: bytes, the zip's directory, parts with checksums that fit, JSON, headers of arrays, graph text."""

import io
import json
import random
import re
import struct
import zipfile
from collections.abc import Callable
from typing import Any

__all__ = ["mutated"]

# Values that readers tend to trust.
_NUMBERS = [
    0, -1, 1, 2, 63, 64, 65, 255, 1 << 16, (1 << 31) - 1, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, 1 << 64, -(1 << 63),
    10**30, 1 << 4000,
]  # fmt: skip
_JSON = [
    None, True, False, "", "x", "leaf", "f32[n]", "../../etc/passwd", "__import__('os').abort()", "\x00", "\ud800",
    "é" * 300, 0, -1, 1.5, 1e308, 1 << 70, [], {}, [[]], {"kind": "tuple"}, ["f4", 2], "9" * 5000, "int", "n" * 70000,
]  # fmt: skip
_TOKENS = [
    "%0", "%x", "%9999999", "f32", "f32[n]", "f32[n, n]", "i64[0]", "bool[]", "list<int>", "tuple<>", "int", "float",
    "none", "->", "(", ")", "{", "}", "[", "]", "<", ">", ",", "=", ":", "loop", "if", "return", "yield", "constant",
    "graph", "where", "writes", "outputs", "dense<f32[2]: 1 2>", 'weight<f32[2] "w" sha256:00>', "sha256:", "nan",
    "-inf", "1e999", "n*n*n", "n//0", "max(n,", "0x", '"', "\\", '"\\u{110000}"', "\x00", "é", "lambda", "__class__",
    "//", "#", "@f", "parameters", "example",
]  # fmt: skip
_NUMBER = re.compile(r"\d+")
_WORD = re.compile(r'"[^"]*"|%?[\w.]+|->|[^\s\w]')


def mutated(content: bytes, seed: int) -> bytes:
    """The file with one to three kinds of damage that the seed chooses."""
    rng = random.Random(seed)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice(_KINDS)(content, rng)
    return content


def _bytes(content: bytes, rng: random.Random) -> bytes:
    """Bytes changed, taken out, repeated or cut off."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if not data:
            break
        at = rng.randrange(len(data))
        match rng.randrange(6):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                del data[at : at + rng.choice((1, 4, 100))]
            case 3:
                data[at:at] = data[at : at + rng.choice((1, 4, 100))]
            case 4:
                del data[at:]
            case 5:
                data[at : at + 4] = struct.pack("<I", rng.choice(_NUMBERS) & 0xFFFFFFFF)
    return bytes(data)


def _directory(content: bytes, rng: random.Random) -> bytes:
    """A field of the zip's directory or of a local header."""
    data = bytearray(content)
    places = [m.start() for m in re.finditer(rb"PK(\x01\x02|\x03\x04|\x05\x06)", content)]
    if places:
        at = rng.choice(places) + rng.randrange(4, 46)
        size = rng.choice((1, 2, 4))
        data[at : at + size] = (rng.choice(_NUMBERS) & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    return bytes(data)


def _parts(content: bytes) -> dict[str, bytes] | None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {info.filename: archive.read(info) for info in archive.infolist()}
    except Exception:  # damaged already
        return None


def _rebuilt(parts: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in parts:
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return buffer.getvalue()


def _members(content: bytes, rng: random.Random) -> bytes:
    """Parts left out, renamed, repeated, swapped, emptied, compressed."""
    parts = _parts(content)
    if not parts:
        return content
    items = list(parts.items())
    at, other = rng.randrange(len(items)), rng.randrange(len(items))
    name, data = items[at]
    compression = zipfile.ZIP_STORED
    match rng.randrange(7):
        case 0:
            del items[at]
        case 1:
            items[at] = (
                rng.choice(["", "/", "../x", "extra/../x", name.upper(), name + "\x00", "native/x.o", "é"]),
                data,
            )
        case 2:
            items[at] = (name, items[other][1])
        case 3:
            items[at] = (name, b"")
        case 4:
            compression = zipfile.ZIP_DEFLATED
        case 5:
            items[at] = (name, data * rng.choice((2, 3)))
        case 6:
            rng.shuffle(items)
    return _rebuilt(items, compression)


def _with_part(change: Callable[[bytes, random.Random], bytes], suffixes: tuple[str, ...]) -> Callable[..., bytes]:
    """A kind of damage to the content of one part, in a file that is whole otherwise."""

    def damage(content: bytes, rng: random.Random) -> bytes:
        parts = _parts(content)
        names = [name for name in parts or {} if name.endswith(suffixes)]
        if not parts or not names:
            return content
        name = rng.choice(names)
        return _rebuilt([(n, change(data, rng) if n == name else data) for n, data in parts.items()])

    return damage


def _json_data(value: Any, rng: random.Random) -> Any:
    """JSON data with one place changed."""
    if isinstance(value, (dict, list)) and value and rng.random() < 0.9:
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        match rng.randrange(12):
            case 0:
                del value[key]
            case 1 if isinstance(value, list):
                value.insert(key, value[key])
            case 1:
                value[rng.choice(("", "x", key + "x"))] = value[key]
            case 2 if isinstance(value, list):
                rng.shuffle(value)
            case _:
                value[key] = _json_data(value[key], rng)
        return value
    if isinstance(value, int) and not isinstance(value, bool) and rng.random() < 0.5:
        return rng.choice(_NUMBERS)
    if isinstance(value, str) and rng.random() < 0.4:
        return _text(value.encode("utf-8", "surrogatepass"), rng).decode("utf-8", "replace")
    return rng.choice(_JSON)


def _json(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.02:
        return rng.choice(
            (b"[" * 100_000, b'{"a":' * 50_000, b"1" * 100_000, b'"' + b"\\" * 9999, b"NaN", b"\xff\xfe{}")
        )
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):  # damaged already
        return data
    # json writes and reads NaN, Infinity and lone surrogates, too.
    return json.dumps(_json_data(value, rng)).encode()


def _header(data: bytes, rng: random.Random) -> bytes:
    """The JSON header of a safetensors part, its length kept right or not."""
    if len(data) < 8:
        return data
    (length,) = struct.unpack("<Q", data[:8])
    header = _json(data[8 : 8 + length], rng)
    stated = len(header) if rng.random() < 0.9 else rng.choice(_NUMBERS) & ((1 << 64) - 1)
    return struct.pack("<Q", stated) + header + data[8 + length :]


def _text(data: bytes, rng: random.Random) -> bytes:
    """Graph text with tokens changed, numbers made extreme, lines moved."""
    text = data.decode("utf-8", "replace")
    words = list(_WORD.finditer(text))
    if not words:
        return data
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        word = rng.choice(words)
        match rng.randrange(9):
            case 0:
                new = rng.choice(_TOKENS)
            case 1:
                new = rng.choice(words).group()
            case 2:
                new = ""
            case 3:
                new = word.group() + " " + word.group()
            case 4:
                new = str(rng.choice(_NUMBERS[:-1]))
            case 5:
                new = _NUMBER.sub(lambda _: str(rng.choice(_NUMBERS[:-1])), word.group())
            case 6:
                new = rng.choice(_TOKENS) * rng.choice((50, 3000))
            case 7:
                new = word.group()[::-1]
            case _:
                lines = text.split("\n")
                i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
                lines[i], lines[j] = lines[j], lines[i]
                text = "\n".join(lines)
                words = list(_WORD.finditer(text))
                continue
        text = text[: word.start()] + new + text[word.end() :]
        words = list(_WORD.finditer(text))
        if not words:
            break
    return text.encode("utf-8", "replace")


_KINDS = [
    _bytes,
    _directory,
    _members,
    _with_part(_bytes, (".json", ".ir", ".safetensors", ".signature", ".o")),
    _with_part(_json, ("ingot.json",)),
    _with_part(_json, ("ingot.json",)),
    _with_part(_json, (".json",)),
    _with_part(_header, (".safetensors",)),
    _with_part(_text, (".ir",)),
    _with_part(_text, (".ir",)),
    _with_part(_text, (".ir",)),
]
