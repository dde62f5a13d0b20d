"""The requests of one level with all that other tools' files say of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokenswarm.metrics.intervals import Series
from tokenswarm.metrics.level import Phase
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.reports.stats.connect_times import waited_for_connection
from tokenswarm.run_folder.csv_reader import codes, numbers, read_columns
from tokenswarm.run_folder.reader import Results
from tokenswarm.run_folder.schema import LevelSummary

_TEXT = ("id", "outcome", "phase", "session", "error", "custom_id", "worker")
_NUMBERS = (
    *("status", "scheduled_s", "sent_s", "connect_ms", "headers_ms", "ttft_ms", "tpot_ms", "e2e_ms", "duration_ms"),
    *("first_event_ms", "last_event_ms", "events", "output_tokens", "prompt_tokens", "cached_tokens", "turn"),
    "abandoned_ms",
)


@dataclass(frozen=True, slots=True)
class LevelRequests:
    """In the order in which they were sent, an entry of each array a request. texts, numbers: by the names of
    requests.csv, in its units; NaN, and an empty text, where it has none. connect_ms: what the request waited for its
    connection."""

    texts: dict[str, list[str]]
    numbers: dict[str, Series]

    def __len__(self) -> int:
        return len(self.texts["id"])

    @property
    def ok(self) -> NDArray[np.bool_]:
        """Which of them are ok."""
        return np.array([outcome == Outcome.OK.value for outcome in self.texts["outcome"]], dtype=np.bool_)


def requests_of_level(results: Results, level: LevelSummary) -> LevelRequests:
    """All requests that were sent in a level, its ramp included and warm-ups left out. Raises ReportError."""
    table = read_columns(results.folder / "requests.csv", ["level_index", *_TEXT, *_NUMBERS], text=_TEXT)
    texts = {name: _texts(codes(table, name)) for name in _TEXT}
    values = {name: numbers(table, name) for name in _NUMBERS}
    warm_up = np.array([phase == Phase.WARM_UP.value for phase in texts["phase"]], dtype=np.bool_)
    # Of older folders.
    values["scheduled_s"] = np.where(np.isnan(values["scheduled_s"]), values["sent_s"], values["scheduled_s"])
    lag_ms = (values["sent_s"] - values["scheduled_s"]) * 1e3
    open_loop = level.open_loop is not None
    values["connect_ms"] = waited_for_connection(values["connect_ms"], lag_ms, open_loop=open_loop)
    (chosen,) = np.nonzero((numbers(table, "level_index") == level.index) & ~warm_up)
    order = chosen[np.argsort(values["sent_s"][chosen], kind="stable")]
    return LevelRequests(
        {name: [entries[place] for place in order] for name, entries in texts.items()},
        {name: entries[order] for name, entries in values.items()},
    )


def _texts(coded: tuple[NDArray[np.int32], Sequence[str]]) -> list[str]:
    entries, names = coded
    return [names[entry] or "" if entry >= 0 else "" for entry in entries.tolist()]
