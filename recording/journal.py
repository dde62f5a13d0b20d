"""A run's folder: requests.csv, windows.csv and server.csv as the run goes, the rest when it ends or a level does."""

from __future__ import annotations

import csv
import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import msgspec

from tokenswarm.metrics.buckets import EXPOSED
from tokenswarm.metrics.level import Level, Scope
from tokenswarm.metrics.mix import NO_MIX, RunMix, name_at
from tokenswarm.metrics.quantiles import nearest_rank
from tokenswarm.recording.aggregator import Aggregator, LevelStats, measured_levels
from tokenswarm.recording.server_samples import ServerSample
from tokenswarm.recording.window_stats import WindowStats
from tokenswarm.recording.worker_report import RequestRow
from tokenswarm.run_folder.files import RESERVED_BYTES, LineFile, overwrite, reserve, write_whole
from tokenswarm.run_folder.schema import (
    HISTOGRAM_COLUMNS,
    RECORDED_GAPS,
    REQUEST_COLUMNS,
    RESERVE,
    SERVER_COLUMNS,
    WINDOW_COLUMNS,
    WINDOW_S,
    RunDocument,
    Summary,
)
from tokenswarm.run_folder.summary_csv import summary_rows
from tokenswarm.sanitize import cell, shown_values


class ResultsFolderError(ValueError):
    """The results folder cannot be made or written; the text says which and why."""


def check_writable(parent: Path, option: str = "--results") -> None:
    """Find out before a run whether a folder can be made in `parent`, which `option` names. It is not made itself, as
    other options may be wrong: where it will be is tried. Raises ResultsFolderError."""
    try:
        with TemporaryFile(dir=next(filter(os.path.lexists, (parent, *parent.parents)), parent)) as file:
            os.posix_fallocate(file.fileno(), 0, RESERVED_BYTES)  # a full disk lets files be made, and not written
    except OSError as error:
        raise _unwritable(parent, error, option) from None


def check_folders(results: Path, spool_folder: Path | None) -> None:
    """Find out before a run whether results and spools can be written. Raises ResultsFolderError."""
    check_writable(results)
    if spool_folder is not None:
        check_writable(spool_folder, "--spool-folder")


class Journal:
    """Writes one run's folder. Nothing but this class writes there while the run lasts. Where a write fails, the files
    hold what was written before, and rows are kept to be written later."""

    def __init__(self, parent: Path, name: str) -> None:
        """Make `parent/name`, or `parent/name-2`, … if it is taken. Raises ResultsFolderError."""
        try:
            self.folder = _new_folder(parent, name)
            self._requests = LineFile(self.folder / "requests.csv", _csv_line(REQUEST_COLUMNS))
            self._windows = LineFile(self.folder / "windows.csv", _csv_line(WINDOW_COLUMNS))
            self._server = LineFile(self.folder / "server.csv", _csv_line(SERVER_COLUMNS))
            reserve(self.folder / RESERVE)
        except OSError as error:
            raise _unwritable(parent, error) from None
        self._window_file = _TailRewriter(self._windows)
        self._window_lines = _WindowLines()
        self._rows = 0

    @property
    def rows(self) -> int:
        """Rows in requests.csv."""
        return self._rows - self._requests.pending

    def check(self) -> None:
        """Find out whether the folder is still there and can be written. Raises OSError."""
        if not self._requests.is_in_place:
            raise FileNotFoundError(errno.ENOENT, "it was removed", str(self.folder))
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.folder))

    def put_back(self) -> None:
        """Make a folder that was removed again, with what was written to it. Raises OSError."""
        if not self._requests.is_in_place:
            self.folder.mkdir(parents=True, exist_ok=True)
            for file in self._files:
                file.put_back()

    def release_reserve(self) -> None:
        """Free the disk space that was reserved for the end."""
        with suppress(OSError):
            (self.folder / RESERVE).unlink(missing_ok=True)

    def write_run(self, document: RunDocument) -> None:
        """run.json."""
        _write_json(self.folder / "run.json", document)

    def mark_failed(self, document: RunDocument) -> None:
        """run.json, by whatever way it can still be written: in place where no new file can be made, and without line
        breaks, so that it is no longer than the one of the run's beginning."""
        try:
            self.write_run(document)
        except OSError:
            with suppress(OSError):
                overwrite(self.folder / "run.json", _json_text(document, indent=0))

    def write_requests(self, rows: Iterable[RequestRow], levels: Mapping[int, Level], mix: RunMix = NO_MIX) -> None:
        """Append rows to requests.csv; they are in the file when this returns. mix: names models and hosts."""
        lines = [_csv_line(_request_cells(row, levels[row.level_index], mix)) for row in rows]
        self._rows += len(lines)
        self._requests.append(lines)

    def write_windows(self, aggregator: Aggregator, now_s: float) -> None:
        """Bring windows.csv up to now. Tokens of a request are entered when it ends, into the windows that they
        arrived in, so that earlier rows can still change: from the first that did, the file is written again."""
        self._window_file.write(self._window_lines.of(aggregator, now_s))

    def write_server(self, sample: ServerSample) -> None:
        """Append a sample to server.csv."""
        cells = (
            (f"{sample.time_s:.3f}", sample.level_index, name, f"{value:.9g}") for name, value in sample.values.items()
        )
        self._server.append(map(_csv_line, cells))

    def write_summary(self, summary: Summary, aggregator: Aggregator) -> None:
        """summary.json, summary.csv and histograms.csv."""
        _write_json(self.folder / "summary.json", summary)
        rows = summary_rows(summary.levels)
        _write_csv(
            self.folder / "summary.csv", list(rows[0]) if rows else ["level_index"], (row.values() for row in rows)
        )
        _write_csv(self.folder / "histograms.csv", HISTOGRAM_COLUMNS, _histogram_cells(aggregator))

    def flush(self) -> None:
        """Write the rows that could not be written before."""
        self._requests.flush()
        self._server.flush()

    def close(self) -> None:
        """Close the files. The folder is complete."""
        self.release_reserve()
        for file in self._files:
            file.close()

    @property
    def _files(self) -> tuple[LineFile, ...]:
        return self._requests, self._windows, self._server


def _unwritable(parent: Path, error: OSError, option: str = "--results") -> ResultsFolderError:
    if parent.is_char_device() or parent.is_block_device():
        return ResultsFolderError(f"{option} takes a folder, but {parent} is a device.")
    in_the_way = next((path for path in (parent, *parent.parents) if path.exists()), parent)
    if in_the_way.is_file():
        return ResultsFolderError(f"{option} takes a folder, but {in_the_way} is a file; name another folder.")
    return ResultsFolderError(f"{option} {parent} cannot be written to ({error.strerror}); name a folder that can.")


class _TailRewriter:
    """The lines of a file whose last ones may still change: written from the first that differs."""

    def __init__(self, file: LineFile) -> None:
        self._file = file
        self._lines: list[str] = []
        self._places = [file.size]

    def write(self, lines: list[str]) -> None:
        same = next(
            (i for i, (new, old) in enumerate(zip(lines, self._lines)) if new != old), min(len(lines), len(self._lines))
        )
        del self._places[same + 1 :], self._lines[same:]  # where the write fails, the file ends there
        self._file.rewrite(self._places[same], "".join(lines[same:]))
        for line in lines[same:]:
            self._places.append(self._places[-1] + len(line.encode()))
        self._lines = lines


class _WindowLines:
    """The lines of windows.csv. One is made anew only where what it shows has changed: a day has 17,280 windows."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[tuple[Any, ...], str]] = {}

    def of(self, aggregator: Aggregator, now_s: float) -> list[str]:
        """All lines as of now."""
        return [line for level in aggregator.levels.values() for line in self._of_level(aggregator, level, now_s)]

    def _of_level(self, aggregator: Aggregator, level: LevelStats, now_s: float) -> Iterator[str]:
        over_s = now_s if level.ended_s is None else level.ended_s
        windows = aggregator.windows_of(level, now_s)
        for number, window in enumerate(windows):
            start_s = number * WINDOW_S
            end_s = over_s - level.began_s if number == len(windows) - 1 else start_s + WINDOW_S
            users = level.users_between(start_s, end_s) if end_s > start_s else None
            offered = level.offered_between(start_s, end_s)
            shown = (
                *(end_s, users, window.users, window.in_flight, window.requests_sent, window.requests_ended),
                *(window.failures, window.output_tokens, len(window.ttfts_ns), offered, window.requests_completed),
            )
            known = self._known.get((level.level.index, number))
            if known is None or known[0] != shown:
                line = _csv_line(_window_cells(level, window, start_s, end_s, users, offered))
                known = self._known[level.level.index, number] = shown, line
            yield known[1]


def _new_folder(parent: Path, name: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1000):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(17, f"{parent / name} and 998 more names are taken")


def _request_cells(row: RequestRow, level: Level, mix: RunMix) -> tuple[Any, ...]:
    return (
        *(
            row.id,
            row.worker,
            row.user,
            row.level_index,
            level.system_prompt,
            level.name,
            row.phase,
            row.outcome,
            row.status,
        ),
        *(_seconds(row.scheduled_ns), _seconds(row.sent_ns), _ms(row.connect_ns), _ms(row.headers_ns)),
        *(_ms(row.ttft_ns), _ms(row.ttfvt_ns), _ms(row.tpot_ns), _ms(row.e2e_ns), _ms(row.duration_ns)),
        *(row.output_tokens, row.output_tokens_source, row.output_events, row.output_arrivals),
        *(row.prompt_tokens, row.prompt_tokens_source, row.gaps_measured, _ms(row.gap_max_ns)),
        *(_ms(row.client_delay_max_ns), row.stamps),
        *(_text(row.finish_reason), _text(row.error)),
        *(_ms(row.first_body_ns), _ms(row.first_event_ns), _ms(row.last_event_ns), row.events),
        *(_ms(row.ttft_uncertainty_ns), row.reads),
        *(row.prompt_id, row.prompt_hash, row.cached_tokens, row.retries),
        *(row.output_tokens_rejected, row.first_event_tokens),
        *(row.unstreamed_tokens, " ".join(f"{name}={count}" for name, count in row.deviations.items())),
        *(row.input_tokens_requested, row.output_tokens_requested),
        *(_text(row.custom_id), _text(row.server_request_id), row.trace_id),
        _ms(row.think_ns),
        *(_text(name_at(mix.models, row.model_index)), _text(name_at(mix.hosts, row.host_index))),
        *((row.session, row.turn, row.session_turns) if row.session else ("", "", "")),
        row.prefix_group,
        *(row.abandons, _ms(row.abandoned_ns), _ms(row.abandon_late_ns)),
        *((row.agent, row.depth) if row.agent else ("", "")),
        _ms(row.join_ns),
        _text(row.name),
    )


def _window_cells(
    level: LevelStats, window: WindowStats, start_s: float, end_s: float, users: float | None, offered: int | None
) -> tuple[Any, ...]:
    """start_s, end_s: since the level began; users: mean of those that were there, None where no time has passed;
    offered: requests that were due, None in a closed loop."""
    planned, lasted_s = level.level, end_s - start_s
    ttfts = sorted(window.ttfts_ns)

    def per_second(amount: float | None) -> str:
        return "" if amount is None or lasted_s <= 0 else f"{amount / lasted_s:.3f}"

    return (
        *(f"{level.began_s + start_s:.3f}", f"{level.began_s + end_s:.3f}"),
        *(planned.index, planned.system_prompt, planned.name),
        *(level.phase_at(start_s).value, window.users, window.in_flight),
        *(window.requests_sent, window.requests_ended, window.failures),
        *(f"{window.output_tokens:.3f}", per_second(window.output_tokens)),
        *(_ms(nearest_rank(ttfts, 0.5)), _ms(nearest_rank(ttfts, 0.95))),
        "" if users is None else f"{users:.3f}",
        *("" if offered is None else offered, window.requests_completed),
        *map(per_second, (offered, window.requests_sent, window.requests_completed)),
    )


def _histogram_cells(aggregator: Aggregator) -> Iterable[tuple[Any, ...]]:
    for level in measured_levels(aggregator).values():
        for part in (Scope.HOLD, Scope.WHOLE):
            for metric, bounds in EXPOSED.items():
                histogram = getattr(level.scopes[part], metric)
                cumulative = [*histogram.counts_at_or_below(bounds), histogram.count]
                for le, upper, lower in zip([*bounds, "+Inf"], cumulative, [0, *cumulative]):
                    yield metric, level.level.system_prompt, level.level.name, part.value, le, upper - lower
        # Of gaps no single values are kept: those of the hold also stand as they were recorded, within 0.1 %.
        for le_s, count in level.scopes[Scope.HOLD].gap_s.buckets():
            yield (
                RECORDED_GAPS,
                *(level.level.system_prompt, level.level.name, Scope.HOLD.value),
                *(f"{le_s:.6f}", count),
            )


def _text(text: str | None) -> str | None:
    return cell(text) if text else text


def _seconds(ns: int) -> str:
    return f"{ns / 1e9:.9f}"


def _ms(ns: float | None) -> str:
    return "" if ns is None else f"{ns / 1e6:.6f}"


class _Echo:
    """A file of which nothing is kept: `write` returns what it is given."""

    write = staticmethod(str)


def _csv_line(cells: Iterable[Any]) -> str:
    line: str = csv.writer(_Echo()).writerow(cells)  # returns what `write` does
    return line


def _write_csv(path: Path, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    write_whole(path, _csv_line(columns) + "".join(map(_csv_line, rows)))


def _write_json(path: Path, document: Any) -> None:
    write_whole(path, _json_text(document))


def _json_text(document: Any, indent: int = 2) -> str:
    safe = shown_values(msgspec.to_builtins(document, str_keys=True))
    return msgspec.json.format(msgspec.json.encode(safe), indent=indent).decode() + "\n"
