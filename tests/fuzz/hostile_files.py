"""Files that attack their reader: each by one idea, all built from an ingot that is whole."""

import io
import json
import struct
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

__all__ = ["HARMLESS", "hostile_files"]

# These load: the idea is one that needs no refusal.
HARMLESS = {"symbolic link in the directory", "names in other scripts", "hostile place", "directory entries", "comment"}

_GRAPH = "graph @f(%x: f32[n]) -> (f32[n]) {{\n{body}\n  return(%x)\n}}"


def _parts(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zip(parts: "dict[str, bytes] | list[tuple[str, bytes]]", **options: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", options.get("compression", zipfile.ZIP_STORED)) as archive:
        archive.comment = options.get("comment", b"")
        for name, data in parts.items() if isinstance(parts, dict) else parts:
            info = zipfile.ZipInfo(name)
            info.external_attr = options.get("attributes", 0o644 << 16)
            info.compress_type = options.get("compression", zipfile.ZIP_STORED)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a name that occurs twice
                archive.writestr(info, data)
    return buffer.getvalue()


def _directory_field(content: bytes, name: str, offset: int, value: bytes) -> bytes:
    """The file with bytes of a directory entry changed."""
    data = bytearray(content)
    at = -1
    while (at := content.find(b"PK\x01\x02", at + 1)) >= 0:
        if content[at + 46 :].startswith(name.encode()):
            data[at + offset : at + offset + len(value)] = value
    return bytes(data)


def _header(arrays: Any, data: bytes = b"") -> bytes:
    text = arrays if isinstance(arrays, bytes) else json.dumps(arrays).encode()
    return struct.pack("<Q", len(text)) + text + data


def _nest(depth: int, inner: Any, wrap: Callable[[Any], Any]) -> Any:
    for _ in range(depth):
        inner = wrap(inner)
    return inner


def hostile_files(content: bytes) -> dict[str, bytes]:
    """The files by what they try. `content` is an ingot of a function of one vector, without machine code."""
    parts = _parts(content)
    description: dict[str, Any] = json.loads(parts["ingot.json"])

    def with_part(name: str, data: bytes) -> bytes:
        return _zip({**parts, name: data})

    def with_text(text: str) -> bytes:
        return with_part("graph.ir", text.encode())

    def with_body(body: str) -> bytes:
        return with_text(_GRAPH.format(body=body))

    def described(**changes: Any) -> bytes:
        return with_part("ingot.json", json.dumps({**description, **changes}).encode())

    def first(**changes: Any) -> bytes:
        return described(specialisations=[{**description["specialisations"][0], **changes}])

    end = content.rindex(b"PK\x05\x06")
    chain = "\n".join(f"  %{i + 1}: f32[n] = exp(%{i if i else 'x'})" for i in range(60_000))
    products = ", ".join(f"%x{k}: f32[{'*'.join(f'(a{i}+b{k})' for i in range(9))}]" for k in range(1300))
    record = {"kind": "record", "keys": ["a"], "children": ["leaf"]}
    files = {
        # the container
        "compressed bomb": _zip({**parts, "extra/x": bytes(50 << 20)}, compression=zipfile.ZIP_DEFLATED),
        "overlapping parts": _directory_field(content, "ingot.json", 42, struct.pack("<I", 0)),
        "part outside of the file": _directory_field(content, "graph.ir", 42, b"\xff\xff\xff\x7f"),
        "part larger than the file": _directory_field(content, "graph.ir", 20, b"\xff\xff\xff\x7f" * 2),
        "wide sizes without a field": _directory_field(content, "graph.ir", 20, b"\xff" * 8),
        "name longer than its entry": _directory_field(content, "graph.ir", 28, b"\xff\xff"),
        "encrypted": _directory_field(content, "graph.ir", 8, b"\x01"),
        "half a million parts": content[: end + 8] + struct.pack("<HH", 0xFFFE, 0xFFFE) + content[end + 12 :],
        "many parts": _zip([*parts.items(), *((f"extra/{i}", b"") for i in range(20_000))]),
        "the same part twice": _zip([*parts.items(), ("graph.ir", parts["graph.ir"])]),
        "directory elsewhere": content[: end + 16] + struct.pack("<I", 0) + content[end + 20 :],
        "directory in the comment": content + content[end:],
        "wide directory that is not there": content[: end + 8] + b"\xff" * 12 + content[end + 20 :],
        "bytes before the file": b"#!/bin/sh\n" + content,
        "path out of the folder": _zip({**parts, "../../etc/passwd": b"x"}),
        "absolute path": _zip({**parts, "/etc/passwd": b"x"}),
        "path of Windows": _zip({**parts, "..\\..\\x": b"x"}),
        "symbolic link in the directory": _zip(parts, attributes=0o120777 << 16),
        "names in other scripts": _zip({**parts, "extra/\u202egpj.\u0645": b"x"}),
        "directory entries": _zip({**parts, "extra/": b"", "native/": b""}),
        "comment": _zip(parts, comment=b"hello"),
        # JSON
        "nested lists": with_part("ingot.json", b"[" * 1_000_000),
        "nested objects": with_part("ingot.json", b'{"a":' * 200_000 + b"1" + b"}" * 200_000),
        "many small objects": with_part("ingot.json", b'{"format": 1, "x": [' + b"{}," * 10_000_000 + b"{}]}"),
        "long number": with_part("ingot.json", b'{"format": ' + b"9" * 1_000_000 + b"}"),
        "number that is none": described(format=float("nan")),
        "lone surrogate": with_part("ingot.json", b'{"format": 1, "name": "\\ud800"}'),
        "bytes that are no text": with_part("ingot.json", b"\xff\xfe" * 1000),
        "deep structure": first(arguments=_nest(200, "leaf", lambda s: {**record, "kind": "list", "children": [s]})),
        "ten thousand kinds of records": first(
            results={
                "kind": "tuple", "name": "", "keys": [],
                "children": [{**record, "name": f"R{i}", "keys": ["a"]} for i in range(10_000)],
            }
        ),
        "record called as a keyword": first(results={**record, "name": "class"}),
        "record with code for a name": first(results={**record, "name": "x; import os"}),
        "record with code for a field": first(results={**record, "name": "R", "keys": ["a=__import__('os')"]}),
        "many leaves": first(leaves=[["f4", 1]] * 30_000),
        "constant of many digits": first(arguments={"constant": {"int": "9" * 5000}}),
        "strange device": first(arguments={"constant": {"device": "cuda:99999999999999999999"}}),
        "graph number": first(graph=1 << 70),
        "thousands of graphs": described(specialisations=description["specialisations"] * 2000),
        "graphs that share a part": described(
            specialisations=[{**description["specialisations"][0], "graph": 0} for _ in range(900)]
        ),
        "signature with code": described(signature=[["x=print(1)", "POSITIONAL_ONLY", None]]),
        # arrays
        "array beyond memory": with_part(
            "weights.safetensors", _header({"a": {"dtype": "F32", "shape": [1 << 60], "data_offsets": [0, 1 << 62]}})
        ),
        "array of the wrong size": with_part(
            "weights.safetensors", _header({"a": {"dtype": "U8", "shape": [1 << 30], "data_offsets": [0, 1]}}, b"x")
        ),
        "array of huge rank": with_part(
            "weights.safetensors", _header({"a": {"dtype": "U8", "shape": [1] * 100_000, "data_offsets": [0, 1]}}, b"x")
        ),
        "header beyond the part": with_part("weights.safetensors", struct.pack("<Q", 1 << 62) + b"{}"),
        "header of many objects": with_part("weights.safetensors", _header(b'{"a":[' + b"{}," * 5_000_000 + b"{}]}")),
        # graphs
        "brackets": with_text("graph @f" + "(" * 1_400_000),
        "more brackets": with_text("graph @f" + "(" * 20_000_000),
        "line breaks": with_text("\n" * 20_000_000),
        "long chain": with_body(chain),
        "products of sums": with_text(f"graph @f({products}) -> () {{ return() }}"),
        "power": with_text("graph @f(%x: f32[n**99999999]) -> (f32[n]) { return(%x) }"),
        "nested types": with_text("graph @f(%x: " + "List[" * 100_000),
        "nested regions": with_body("  %b: bool = constant() {value=True}\n" + "  if(%b) {\n" * 5000),
        "nested sizes": with_text("graph @f(%x: f32[" + "(" * 100_000 + "n" + ")" * 100_000 + "]) -> () { return() }"),
        "nested attributes": with_body("  %c: int = constant() {value=" + "(" * 100_000 + "1"),
        "number of many digits": with_body(f"  %c: int = constant() {{value={'9' * 100_000}}}"),
        "array from digits": with_body("  %c: f32[9] = constant() {value=dense<f32[9]: 1e99999999 2>}"),
        "huge array from nothing": with_body(
            "  %c: f32[72057594037927935] = constant() {value=dense<f32[72057594037927935]: >}"
        ),
        "weight that is not there": with_body('  %c: f32[9] = constant() {value=weight<f32[9] "w" sha256:00>}'),
        "a billion results": with_text(
            "graph @f(%x: f32[1000000000]) -> () { %y: f32[] = unbind(%x) {dim=0} return() }"
        ),
        "a billion pieces": with_text(
            "graph @f(%x: f32[1000000000]) -> () { %y: f32[1] = split(%x) {split_size_or_sections=1, dim=0} return() }"
        ),
        "escape beyond Unicode": with_body('  %c: str = constant() {value="\\U7fffffff"}'),
        "op that is a method": with_body("  %c: f32[n] = __class__(%x)"),
        "place that is a device": with_body('  %c: f32[3] = exp(%x) loc("/dev/zero":1:0)'),
        "place that is a secret": with_body('  %c: f32[3] = exp(%x) loc("/etc/shadow":1:0)'),
        "hostile place": with_body('  %c: f32[n] = exp(%x) loc("a\\nb/../../etc/passwd":2147483647:0 in "x y")'),
    }  # fmt: skip
    return files
