"""The table's two decisive figures as bars: how far off TTFT is, and what a token costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.figures import Row
from benchmarks.table import SERVER_LATE, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart in every kind of colour blindness.
_COLOURS = ("#0072B2", "#56B4E9", "#E69F00", "#CC79A7", "#999999", "#009E73", "#D55E00", "#F0E442")
_DPI = 160
_ROOM = 0.86
_LABEL: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "bottom", "fontsize": 8}


def draw(rows: Sequence[Row], path: Path, subtitle: str) -> None:
    """Write the chart to `path`. Raises OSError."""
    chart(rows, subtitle).savefig(path, dpi=_DPI)


def chart(rows: Sequence[Row], subtitle: str) -> Figure:
    """A panel a figure; clients that report no TTFT have no bar in the first, ones that were left out are named so."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 8.4), facecolor="white", layout="constrained")
    figure.suptitle(f"How far off, and how dear\n{subtitle}", fontsize=12)
    top, bottom = figure.subplots(2, 1)
    reporting = [row for row in rows if _ttft_p99(row) is not None or row.tokens_per_s is None]
    _panel(top, rows, reporting, _ttft_p99, "TTFT error, p99 (ms, log scale)")
    top.set_yscale("log")
    _panel(bottom, rows, rows, lambda row: row.us_per_token, "CPU per token (µs)")
    top.margins(y=0.18)
    bottom.margins(y=0.12)
    keys, names = bottom.get_legend_handles_labels()
    figure.legend(keys, names, loc="outside lower center", ncols=len(names), frameon=False, fontsize=9)
    return figure


def _ttft_p99(row: Row) -> float | None:
    return row.accuracy.ttft_error_ms.p99 if row.accuracy and row.accuracy.ttft_error_ms else None


def _panel(
    axes: Axes, rows: Sequence[Row], shown: Sequence[Row], value_of: Callable[[Row], float | None], what: str
) -> None:
    levels = list(dict.fromkeys(row.users for row in rows))
    colours = {client: _COLOURS[at % len(_COLOURS)] for at, client in enumerate(dict.fromkeys(r.client for r in rows))}
    clients = list(dict.fromkeys(row.client for row in shown))
    width = _ROOM / max(len(clients), 1)
    for client in clients:
        xs, heights = [], []
        for row in shown:
            if row.client != client:
                continue
            x = levels.index(row.users) - _ROOM / 2 + (clients.index(client) + 0.5) * width
            value = value_of(row)
            if value is None:
                axes.annotate("left out", (x, 0), (0, 3), **_LABEL, rotation=90, xycoords=("data", "axes fraction"))
                continue
            xs.append(x)
            heights.append(value)
            text = number(value) + (SERVER_LATE if row.server_late else "")
            axes.annotate(text, (x, value), (0, 2), **_LABEL)
        axes.bar(xs, heights, width * 0.92, color=colours[client], label=client)
    axes.set_xticks(range(len(levels)), [f"{level:,} users" for level in levels])
    axes.set_xlim(-0.6, len(levels) - 0.4)
    axes.set_ylabel(what)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
