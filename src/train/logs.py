"""Where numbers go: CSV files, TensorBoard event files, and a plot."""

import csv
import os
import socket
import struct
import time
from pathlib import Path
from typing import Any

__all__ = ["CSVLogger", "TensorBoardLogger", "plot_history"]


class CSVLogger:
    """One row for each epoch in a file, with a column for each name; rewritten when new names appear."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.rows: list[dict[str, Any]] = []

    def start(self, history: list[dict[str, Any]]) -> None:
        """Begin with the rows of a resumed run, or with none."""
        self.rows = [dict(row) for row in history]
        self._write()

    def log(self, row: dict[str, Any], step: int) -> None:
        """Add a row."""
        self.rows.append(dict(row))
        self._write()

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        with open(self.path, "w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.rows)

    def close(self) -> None:
        """Nothing: every row is in the file already."""


def _crc_table() -> list[int]:
    table = []
    for n in range(256):
        for _ in range(8):
            n = (n >> 1) ^ (0x82F63B78 if n & 1 else 0)  # Castagnoli's polynomial, reflected (RFC 3720, B.4)
        table.append(n)
    return table


_CRC = _crc_table()


def masked_crc(data: bytes) -> int:
    """The CRC-32C of bytes, rotated and shifted as TensorFlow's record files have it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _varint(n: int) -> bytes:
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes([*out, n])


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


class TensorBoardLogger:
    """Scalars in an event file that TensorBoard shows: `tensorboard --logdir DIRECTORY`.

    The format: records of length, its CRC, an Event message and its CRC (tensorflow/core/lib/io/record_writer.h and
    tensorflow/core/util/event.proto); a scalar is Summary.Value{tag, simple_value}.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)
        self._file: Any = None

    def start(self, history: list[dict[str, Any]]) -> None:
        """Open a new event file; TensorBoard shows all files of a directory as one run."""
        self.directory.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns() // 10**9:010d}.{socket.gethostname()}.{os.getpid()}"
        path = self.directory / name
        n = 0
        while path.exists():
            n += 1
            path = self.directory / f"{name}.{n}"
        self._file = open(path, "wb")  # noqa: SIM115
        self._event(_field(3, b"brain.Event:2"))

    def _event(self, content: bytes) -> None:
        data = b"\x09" + struct.pack("<d", time.time()) + content
        length = struct.pack("<Q", len(data))
        self._file.write(length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data)))
        self._file.flush()

    def log(self, row: dict[str, Any], step: int) -> None:
        """Write the numbers of a row at a step."""
        values = b""
        for name, value in row.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool) and name not in ("epoch", "step"):
                scalar = _field(1, name.encode()) + b"\x15" + struct.pack("<f", float(value))
                values += _field(1, scalar)
        self._event(b"\x10" + _varint(step) + _field(5, values))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def plot_history(history: list[dict[str, Any]], path: str | os.PathLike[str]) -> None:
    """Losses, and the other numbers, by epoch as a picture (PNG by its name). Needs matplotlib: ImportError says so."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise ImportError("plot_history needs matplotlib: pip install matplotlib") from error
    names = list(dict.fromkeys(n for row in history for n, v in row.items() if isinstance(v, (int, float))))
    names = [n for n in names if n not in ("epoch", "step", "seconds")]
    losses = [n for n in names if n.endswith("loss")]
    panels = [group for group in (losses, [n for n in names if n not in losses and not n.startswith("lr")]) if group]
    figure = Figure(figsize=(6 * max(1, len(panels)), 4), layout="constrained")
    FigureCanvasAgg(figure)
    for i, group in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), i + 1)
        for name in group:
            points = [(row["epoch"], row[name]) for row in history if name in row]
            axes.plot(*zip(*points, strict=True), label=name, marker=".")
        axes.set_xlabel("epoch")
        axes.set_title("loss" if group is losses else "metrics")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
