"""The table's two decisive figures as bars: how far off TTFT is, and what a token costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.figures import ClientRow
from benchmarks.table import SERVER_LATE, number
from tokenswarm.reports.palette import LINE, SERIES, hatch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 160
_WIDTH = 0.86
_LABEL: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "bottom", "fontsize": 8}


def draw(rows: Sequence[ClientRow], path: Path, subtitle: str) -> None:
    """Write the chart to `path`. Raises OSError."""
    chart(rows, subtitle).savefig(path, dpi=_DPI)


def chart(rows: Sequence[ClientRow], subtitle: str) -> Figure:
    """A panel a figure; clients that report no TTFT have no bar in the first, ones that were left out are named so."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 8.4), facecolor="white", layout="constrained")
    figure.suptitle(f"Accuracy and cost\n{subtitle}", fontsize=12)
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


def _ttft_p99(row: ClientRow) -> float | None:
    return row.accuracy.ttft_error_ms.p99 if row.accuracy and row.accuracy.ttft_error_ms else None


def _panel(
    axes: Axes,
    rows: Sequence[ClientRow],
    shown: Sequence[ClientRow],
    value_of: Callable[[ClientRow], float | None],
    what: str,
) -> None:
    levels = list(dict.fromkeys(row.users for row in rows))
    numbers = {client: at for at, client in enumerate(dict.fromkeys(row.client for row in rows))}
    clients = list(dict.fromkeys(row.client for row in shown))
    width = _WIDTH / max(len(clients), 1)
    for client in clients:
        xs, heights = [], []
        for row in shown:
            if row.client != client:
                continue
            x = levels.index(row.users) - _WIDTH / 2 + (clients.index(client) + 0.5) * width
            value = value_of(row)
            if value is None:
                axes.annotate("left out", (x, 0), (0, 3), **_LABEL, rotation=90, xycoords=("data", "axes fraction"))
                continue
            xs.append(x)
            heights.append(value)
            text = number(value) + (SERVER_LATE if row.server_late else "")
            axes.annotate(text, (x, value), (0, 2), **_LABEL)
        colour = SERIES[numbers[client] % len(SERIES)]
        look = {"color": colour, "hatch": hatch(numbers[client]), "edgecolor": "white", "linewidth": 0}
        axes.bar(xs, heights, width * 0.92, label=client, **look)
    axes.set_xticks(range(len(levels)), [f"{level:,} users" for level in levels])
    axes.set_xlim(-0.6, len(levels) - 0.4)
    axes.set_ylabel(what)
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
