"""Where numbers go: CSV files, TensorBoard event files, and a plot."""

import csv
import os
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


class TensorBoardLogger:
    """Scalars in an event file that TensorBoard shows: `tensorboard --logdir DIRECTORY`.

    Needs the package tensorboardX: ImportError says so.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise ImportError("TensorBoardLogger needs tensorboardX: pip install tensorboardX") from error
        self.directory = Path(directory)
        self._make = SummaryWriter
        self._writer: Any = None

    def start(self, history: list[dict[str, Any]]) -> None:
        """Open a new event file; TensorBoard shows all files of a directory as one run."""
        self.close()
        self._writer = self._make(str(self.directory))

    def log(self, row: dict[str, Any], step: int) -> None:
        """Write the numbers of a row at a step."""
        for name, value in row.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool) and name not in ("epoch", "step"):
                self._writer.add_scalar(name, float(value), step)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


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
