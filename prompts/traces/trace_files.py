"""Reads a trace of any known format from a file, also one compressed by gzip."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias

import msgspec

from tokenswarm.prompts.file_rows import opened
from tokenswarm.prompts.json_rows import DEEPEST_JSON, MOST_ROW_BYTES, UnsoundRows
from tokenswarm.prompts.traces import azure, burstgpt
from tokenswarm.prompts.traces.bailian import BailianReader, OfflineReader
from tokenswarm.prompts.traces.mooncake import MooncakeReader
from tokenswarm.prompts.traces.servegen import rate_window
from tokenswarm.prompts.traces.servegen_clients import read_servegen
from tokenswarm.prompts.traces.trace_input import csv_rows, digest_of
from tokenswarm.prompts.traces.trace_records import (
    BAD_ROW,
    TRACE,
    RecordedRow,
    RowFault,
    SkippedRow,
    Trace,
    TraceError,
    TraceFormat,
    TraceRows,
)
from tokenswarm.sanitize import UnusableFile, check_file, is_nested_deeper, json_error_text

_MOST_BYTES = 2**40
#: Rows behind a first one that is wrong: where all are, the file has another format.
_LOOKED_AT = 100
_LEAVE_OUT = "Give --trace-skip-bad to leave such rows out."
_OTHER_FORMAT = "If the file has another format, say which with --trace-format."
_FORMATS = "Mooncake, Bailian, Azure, BurstGPT or ServeGen (docs/traces.md)"


_Read: TypeAlias = Callable[[Any], RecordedRow]


class _JsonReader(Protocol):
    block_tokens: int

    def row(self, fields: Mapping[str, Any]) -> RecordedRow: ...


_JSON_READERS: dict[TraceFormat, Callable[[], _JsonReader]] = {
    TraceFormat.MOONCAKE: MooncakeReader,
    TraceFormat.BAILIAN: BailianReader,
    TraceFormat.SERVEGEN_OFFLINE: OfflineReader,
}
_CSV_READERS: dict[TraceFormat, tuple[tuple[str, ...], Callable[[Mapping[str, str]], RecordedRow]]] = {
    TraceFormat.AZURE: (azure.COLUMNS, azure.azure_row),
    TraceFormat.BURSTGPT: (burstgpt.COLUMNS, burstgpt.burstgpt_row),
}


def read_trace(
    path: str,
    wanted: TraceFormat = TraceFormat.AUTO,
    *,
    skip_bad: bool = False,
    seed: int = 0,
    window_s: tuple[float, float] = (0.0, inf),
) -> Trace:
    """The trace in a file, or of the ServeGen clients in a folder. wanted: its format; skip_bad: rows that are wrong
    are left out, and counted; seed: of the requests that ServeGen's windows describe, of which those that are at least
    partly in window_s, from and until, are drawn. Raises TraceError."""
    file = Path(path).expanduser()
    with _naming(path):
        kind = wanted
        if file.is_dir() and wanted is TraceFormat.AUTO:
            kind = TraceFormat.SERVEGEN
        elif not file.is_dir() or wanted is not TraceFormat.SERVEGEN:
            check_file(file, _MOST_BYTES)
            kind = _format_of(path, file) if wanted is TraceFormat.AUTO else wanted
        if kind is TraceFormat.SERVEGEN:
            return read_servegen(path, file, skip_bad=skip_bad, seed=seed, window_s=window_s)
        sha256 = digest_of(file)
        rows = TraceRows()
        block_tokens = 0
        with opened(file) as content:
            if kind in _JSON_READERS:
                reader = _JSON_READERS[kind]()
                block_tokens = reader.block_tokens
                _read_rows(path, _json_rows(content), reader.row, rows, skip_bad)
            else:
                columns, read = _CSV_READERS[kind]
                _read_rows(path, _csv_rows(path, content, columns), read, rows, skip_bad)
        if not rows.times_s:
            why = ", ".join(f"{count:,} {reason}" for reason, count in rows.skipped.items())
            raise TraceError(f"{TRACE} {path}: it holds no request to replay{f' ({why})' if why else ''}.")
        return rows.trace(path, kind, block_tokens, sha256)


def _read_rows(
    path: str,
    found: Iterator[tuple[int, Callable[[], Mapping[str, Any]]]],
    read: _Read,
    rows: TraceRows,
    skip_bad: bool,
) -> None:
    """found: the number of each row's line, and what decodes it, which raises RowFault."""
    for line, decoded in found:
        rows.rows += 1
        try:
            rows.add(read(decoded()))
        except SkippedRow as skipped:
            rows.skipped[str(skipped)] += 1
        except RowFault as fault:
            if not skip_bad:
                has_sound = bool(rows.times_s or rows.skipped) or _is_sound_soon(found, read)
                advice = _LEAVE_OUT if has_sound else _OTHER_FORMAT
                raise TraceError(f"{TRACE} {path}: line {line}: {fault}. {advice}") from None
            rows.skipped[BAD_ROW] += 1


def _is_sound_soon(found: Iterable[tuple[int, Callable[[], Mapping[str, Any]]]], read: _Read) -> bool:
    """Whether one of the next rows is what its format says: of a file of another format, none is."""
    with suppress(UnsoundRows, csv.Error):
        for _, decoded in islice(found, _LOOKED_AT):
            with suppress(RowFault):
                with suppress(SkippedRow):
                    read(decoded())
                return True
    return False


def _json_rows(content: BinaryIO) -> Iterator[tuple[int, Callable[[], Mapping[str, Any]]]]:
    for number, line in _lines(content):
        yield number, partial(_decoded, line)


def _decoded(line: bytes) -> Mapping[str, Any]:
    if is_nested_deeper((line,), DEEPEST_JSON, by_line=True):
        raise RowFault(f"expected a JSON object, got one nested deeper than {DEEPEST_JSON} levels")
    try:
        fields = msgspec.json.decode(line)
    except UnicodeDecodeError:
        raise RowFault("expected a JSON object in UTF-8, got other bytes") from None
    except msgspec.DecodeError as error:
        raise RowFault(f"expected a JSON object ({json_error_text(error)})") from None
    if not isinstance(fields, dict):
        raise RowFault(f"expected a JSON object, got {type(fields).__name__}")
    return fields


def _lines(content: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Those that are not blank, with their numbers. Raises UnsoundRows."""
    number = 0
    while line := content.readline(MOST_ROW_BYTES + 1):
        number += 1
        if len(line) > MOST_ROW_BYTES:
            raise UnsoundRows(f"line {number} is longer than {MOST_ROW_BYTES // 2**20} MiB")
        if line.strip():
            yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def _csv_rows(
    path: str, content: BinaryIO, columns: Sequence[str]
) -> Iterator[tuple[int, Callable[[], Mapping[str, str]]]]:
    rows = csv_rows(content)
    header = [name.strip().lower() for name in next(rows, (0, []))[1]]
    if missing := [name for name in columns if name not in header]:
        raise TraceError(
            f"{TRACE} {path}: line 1: expected columns with the names {', '.join(columns)}, found no {missing[0]!r}."
        )
    for line, cells in rows:
        yield line, partial(_named, header, cells)


def _named(header: Sequence[str], cells: Sequence[str]) -> Mapping[str, str]:
    if len(cells) != len(header):
        raise RowFault(f"expected {len(header)} cells, as the first line has, got {len(cells)}")
    return dict(zip(header, cells, strict=True))


def _format_of(path: str, file: Path) -> TraceFormat:
    """By the first line. Raises TraceError."""
    with opened(file) as content:
        first = next(_lines(content), (0, b""))[1]
    if not first:
        raise TraceError(f"{TRACE} {path}: the file is empty; give a trace of {_FORMATS}.")
    found = _json_format(first) if first.lstrip().startswith(b"{") else _csv_format(first)
    if found is None:
        shown = first[:80].decode(errors="replace").strip()
        raise TraceError(
            f"{TRACE} {path}: expected a trace of {_FORMATS}, got a file that begins with {shown!r}; if it is one, say "
            "which with --trace-format."
        )
    return found


def _json_format(line: bytes) -> TraceFormat | None:
    try:
        names = set(_decoded(line))
    except RowFault:
        return None
    if "chat_id" in names:
        return TraceFormat.BAILIAN
    if "request_id" in names and "timestamp" not in names:
        return TraceFormat.SERVEGEN_OFFLINE
    return TraceFormat.MOONCAKE if names & {"timestamp", "input_length", "delay"} else None


def _csv_format(content: bytes) -> TraceFormat | None:
    line = content.lstrip(b"\r\n").partition(b"\r")[0]  # lines of an old Mac end so
    try:
        cells = next(csv.reader([line.decode("utf-8", errors="replace")]), [])
    except csv.Error:
        return None
    names = {name.strip().lower() for name in cells}
    for kind, (columns, _) in _CSV_READERS.items():
        if names.issuperset(columns):
            return kind
    try:
        rate_window(cells)
    except RowFault:
        return None
    return TraceFormat.SERVEGEN


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Errors of reading become ones of the trace."""
    try:
        yield
    except UnusableFile as error:
        raise TraceError(f"{TRACE} {path}: the file {error}.") from None
    except UnsoundRows as error:
        raise TraceError(f"{TRACE} {path}: {error}.") from None
    except csv.Error:  # of a reader that is not strict: a cell is too long
        raise TraceError(
            f"{TRACE} {path}: it cannot be read as CSV: a cell has no end, as in a binary file; give a trace of "
            f"{_FORMATS}."
        ) from None
    except OSError as error:
        raise TraceError(f"{TRACE} {path}: the file cannot be read: {error.strerror or error}.") from None
