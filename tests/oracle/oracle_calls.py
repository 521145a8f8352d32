"""Calls and short programs that typical PyTorch code makes, by topic: the files of the folder `calls`.

Each must do the same with `T = torch` and with `T = ingot`. A file has a call per line, or programs between lines of
`---`, of which the value of the last line is compared.
"""

from pathlib import Path

__all__ = ["CALLS"]


def _read(path: Path) -> list[str]:
    text = path.read_text()
    return text.strip("\n").split("\n---\n") if "\n---\n" in text else text.splitlines()


CALLS = {path.stem: _read(path) for path in sorted((Path(__file__).parent / "calls").glob("*.txt"))}
