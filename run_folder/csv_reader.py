"""requests.csv and windows.csv as columns: a million requests in seconds, and in a few hundred megabytes.

Read by pyarrow, only the columns that are needed, block by block. Columns that an older folder lacks are undefined.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokenswarm.metrics.intervals import Series
from tokenswarm.metrics.level import Phase
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.run_folder.arrow import load_arrow
from tokenswarm.run_folder.older_formats import column_in_file
from tokenswarm.run_folder.reader import ReportError, Results
from tokenswarm.run_folder.schema import WINDOW_S, LevelSummary
from tokenswarm.sanitize import MissingFile, UnusableFile, check_file

#: Columns of durations, in requests.csv in milliseconds and here in seconds.
DURATIONS = (
    *("connect", "headers", "ttft", "ttfvt", "tpot", "e2e", "duration", "gap_max", "client_delay_max"),
    *("first_body", "first_event", "last_event", "abandoned"),
)
#: Some hundred million requests.
_MOST_BYTES = 2**36
#: Of a journal that is read in blocks: some thousand requests.
_BLOCK_BYTES = 2**20
#: What the name of a duration from scheduled has behind that of the one from sent.
_FROM_SCHEDULED = "_scheduled"
_KEYS = ("level_index", "phase", "outcome", "user", "sent_s", "abandons")
_TEXT_KEYS = ("phase", "outcome", "user", "abandons")
#: A window shorter than this share of its length was cut by its level's end.
_WHOLE = 0.999


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests in the order they were sent, an entry of each array a request.

    user: a number for each. hold: sent in its level's hold. abandons: whether its user was to leave it. figures:
    durations and times in seconds, counts; NaN where undefined, by the name that requests.csv has without its `_ms`.
    """

    level_index: NDArray[np.int32]
    user: NDArray[np.int32]
    hold: NDArray[np.bool_]
    ok: NDArray[np.bool_]
    failed: NDArray[np.bool_]
    sent_s: Series
    abandons: NDArray[np.bool_]
    figures: Mapping[str, Series]

    def __len__(self) -> int:
        return len(self.level_index)

    def where(self, chosen: NDArray[np.bool_]) -> Requests:
        """Those that are chosen."""
        return Requests(
            self.level_index[chosen],
            self.user[chosen],
            self.hold[chosen],
            self.ok[chosen],
            self.failed[chosen],
            self.sent_s[chosen],
            self.abandons[chosen],
            {name: values[chosen] for name, values in self.figures.items()},
        )

    def of(self, level: LevelSummary, hold: bool = True) -> Requests:
        """A level's requests: those sent in its hold, or all."""
        chosen = self.level_index == level.index
        return self.where(chosen & self.hold if hold else chosen)

    @property
    def has_latencies(self) -> NDArray[np.bool_]:
        """Whether latencies are of each: it was ok, and its user was not to leave it."""
        return self.ok & ~self.abandons

    def latencies(self, name: str) -> Series:
        """A figure of the ok requests that nobody was to leave, where it is defined, in seconds."""
        values = self.figures[name][self.has_latencies]
        return values[~np.isnan(values)]


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of windows.csv in the file's order. token_rate: tokens a second of all users together."""

    level_index: NDArray[np.int32]
    start_s: Series
    end_s: Series
    token_rate: Series

    def hold_rates(self, results: Results, level: LevelSummary) -> Series:
        """The token rates of the whole windows inside a level's hold."""
        rates: Series = self.token_rate[self._in_hold(results, level)]
        return rates

    def hold_spans(self, results: Results, level: LevelSummary) -> tuple[Series, Series]:
        """When each of those windows began and ended, in seconds since the run began."""
        inside = self._in_hold(results, level)
        return self.start_s[inside], self.end_s[inside]

    def _in_hold(self, results: Results, level: LevelSummary) -> NDArray[np.bool_]:
        planned = next((planned for planned in results.run.plan if planned.index == level.index), None)
        of_level: NDArray[np.bool_] = self.level_index == level.index
        if planned is None or not of_level.any():
            return np.zeros(len(self.level_index), dtype=np.bool_)
        began_s = self.start_s[of_level][0]
        length_s = np.inf if planned.level_time_s is None else planned.level_time_s
        if planned.requests is not None:
            length_s = planned.ramp_s + level.hold.seconds
        over_s = began_s + length_s
        whole = self.end_s - self.start_s >= _WHOLE * WINDOW_S
        # To the millisecond: the file's own precision.
        inside = (self.start_s >= began_s + planned.ramp_s - 0.001) & (self.end_s <= over_s + 0.001)
        chosen: NDArray[np.bool_] = of_level & whole & inside
        return chosen


def load_requests(results: Results, names: Iterable[str]) -> Requests:
    """requests.csv with these figures; `ttft_scheduled` and the like are from when a request was due. Raises
    ReportError."""
    wanted = list(names)
    names = [name for name in wanted if not name.endswith(_FROM_SCHEDULED)]
    if derived := [name for name in wanted if name.endswith(_FROM_SCHEDULED)]:
        names += [name for name in ("scheduled_s", *map(_from_sent, derived)) if name not in names]
    columns = [f"{name}_ms" if name in DURATIONS else name for name in names]
    table = read_columns(results.folder / "requests.csv", [*_KEYS, *columns], text=_TEXT_KEYS)
    sent_s = numbers(table, "sent_s")
    # By the millisecond, those of one in the order of the file, in which they ended: as summary.json has them.
    order = np.argsort(np.rint(sent_s * 1e9) // 1e6, kind="stable")
    outcome = codes(table, "outcome")
    phase = codes(table, "phase")
    figures = {}
    for name, column in zip(names, columns):
        values = numbers(table, column)[order]
        table = table.drop_columns([column])  # freed as it is taken over
        if name in DURATIONS:
            values /= 1000.0
        figures[name] = values
    for name in derived:
        figures[name] = figures[_from_sent(name)] + (sent_s[order] - figures["scheduled_s"])
    known = {known.value for known in Outcome}
    failures = [name for name in outcome[1] if name not in known or Outcome(name).is_failure]
    return Requests(
        level_index=numbers(table, "level_index").astype(np.int32)[order],
        user=codes(table, "user")[0][order],
        hold=is_one_of(phase, [Phase.HOLD.value])[order],
        ok=is_one_of(outcome, [Outcome.OK.value])[order],
        failed=is_one_of(outcome, failures)[order],
        sent_s=sent_s[order],
        abandons=_are_true(table, "abandons")[order],
        figures=figures,
    )


def _from_sent(name: str) -> str:
    return name.removesuffix(_FROM_SCHEDULED)


def load_windows(results: Results) -> Windows:
    """windows.csv. Raises ReportError."""
    table = read_columns(results.folder / "windows.csv", ["level_index", "start_s", "end_s", "token_rate"])
    level_index = numbers(table, "level_index").astype(np.int32)
    return Windows(level_index, *(numbers(table, name) for name in ("start_s", "end_s", "token_rate")))


def read_columns(path: Path, columns: list[str], text: tuple[str, ...] = ()) -> Any:
    """These columns of a journal as a pyarrow table: numbers, and texts of which each is kept once; null where the file
    has none. Raises ReportError."""
    pa = load_arrow()
    with _errors_of(path, pa):
        names, options = _read_options(path, columns, text, pa.dictionary(pa.int32(), pa.string()), pa)
        return pa.csv.read_csv(path, **options).rename_columns(names)


def read_rows(path: Path, columns: list[str], text: tuple[str, ...] = ()) -> Iterator[dict[str, list[Any]]]:
    """The same in blocks of some thousand rows, so that memory does not grow with the run: for each block, by name a
    list of numbers, or of texts; None where the file has none. Raises ReportError."""
    pa = load_arrow()
    with _errors_of(path, pa):
        names, options = _read_options(path, columns, text, pa.string(), pa)
        with pa.csv.open_csv(path, read_options=pa.csv.ReadOptions(block_size=_BLOCK_BYTES), **options) as reader:
            for batch in reader:
                yield {name: column.to_pylist() for name, column in zip(names, batch.columns, strict=True)}


def _read_options(
    path: Path, columns: list[str], text: tuple[str, ...], text_type: Any, pa: Any
) -> tuple[list[str], dict[str, Any]]:
    """(The columns' names, in their order in what pyarrow reads; its options.) Raises OSError, UnusableFile."""
    check_file(path, _MOST_BYTES)
    in_file = columns_of(path)
    wanted = {column_in_file(name, in_file): name for name in columns}
    types = {column: text_type if name in text else pa.float64() for column, name in wanted.items()}
    return list(wanted.values()), {
        # An error text may hold a line end.
        "parse_options": pa.csv.ParseOptions(newlines_in_values=True),
        "convert_options": pa.csv.ConvertOptions(
            column_types=types,
            include_columns=list(wanted),
            include_missing_columns=True,
            null_values=[""],
            strings_can_be_null=text_type == pa.string(),
        ),
    }


@contextmanager
def _errors_of(path: Path, pa: Any) -> Iterator[None]:
    """Raises ReportError in place of what pyarrow raises."""
    try:
        yield
    except (FileNotFoundError, MissingFile):
        raise ReportError(f"{path} is missing; the folder is not as a run left it.") from None
    except UnusableFile as error:
        raise ReportError(f"{path} {error}.") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise ReportError(f"{path} is not as a run writes it: {' '.join(str(error).split())[:200]}.") from None


def columns_of(path: Path) -> list[str]:
    """The names in a CSV file's first line, as they are there. Raises OSError."""
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        return file.readline().rstrip("\r\n").split(",")


def numbers(table: Any, name: str) -> Series:
    """A column of read_columns; NaN where the file has no value."""
    return np.concatenate([np.empty(0), *map(_values, table[name].chunks)])


def _values(chunk: Any) -> Series:
    """An array of float64, null as NaN. pyarrow's own to_numpy imports pandas first, which takes 0.5 s."""
    validity, data = chunk.buffers()
    here = slice(chunk.offset, chunk.offset + len(chunk))
    values = np.frombuffer(data or b"", np.float64)[here].copy()
    if chunk.null_count:
        values[np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")[here] == 0] = np.nan
    return values


def codes(table: Any, name: str) -> tuple[NDArray[np.int32], list[str]]:
    """(the number of each entry's text, the texts)."""
    column = table[name].unify_dictionaries().combine_chunks()
    if hasattr(column, "chunks"):
        column = column.chunk(0)
    return np.from_dlpack(column.indices).astype(np.int32), column.dictionary.to_pylist()


def _are_true(table: Any, name: str) -> NDArray[np.bool_]:
    """Which entries of a text column are `True`; none where the file lacks it."""
    if table[name].null_count:
        return np.zeros(len(table), dtype=np.bool_)
    return is_one_of(codes(table, name), ["True"])


def is_one_of(coded: tuple[NDArray[np.int32], list[str]], texts: Iterable[str]) -> NDArray[np.bool_]:
    """Which of the entries that `codes` gave are one of these texts."""
    entries, names = coded
    chosen: NDArray[np.bool_] = np.isin(entries, [names.index(text) for text in texts if text in names])
    return chosen
