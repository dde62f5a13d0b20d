"""Reads the files of a ServeGen client, or of all clients of a folder, and draws their requests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tokenswarm.prompts.file_rows import opened
from tokenswarm.prompts.traces.servegen import (
    DATASET_ENDING,
    TRACE_ENDING,
    WINDOW_S,
    DrawnRequests,
    LengthWindow,
    RateWindow,
    dataset_of,
    drawn_requests,
    length_windows,
    rate_window,
)
from tokenswarm.prompts.traces.trace_input import csv_rows, digest_of
from tokenswarm.prompts.traces.trace_records import BAD_ROW, TRACE, RowFault, Trace, TraceError, TraceFormat
from tokenswarm.sanitize import UnusableFile, check_file, read_file

_MOST_BYTES = 2**30
#: Of requests: more would fill the memory.
_MOST_DRAWN = 20_000_000


class _Client(NamedTuple):
    """windows: those that are not idle, with the number of each one's line. rows, bad: windows that its file has, and
    that were left out."""

    file: Path
    windows: list[tuple[int, RateWindow]]
    lengths: list[LengthWindow]
    rows: int
    bad: int


def client_files(file: Path) -> list[Path]:
    """The files of windows that --trace names: itself, or all in a folder by their names. Raises OSError."""
    if not file.is_dir():
        return [file]
    return sorted(each for each in file.iterdir() if each.name.removesuffix(".gz").endswith(TRACE_ENDING))


def read_servegen(path: str, file: Path, *, skip_bad: bool, seed: int, window_s: tuple[float, float]) -> Trace:
    """The requests of all clients together. skip_bad: windows that are wrong are left out, and counted; window_s: from
    and until, since the first window that is not idle: other windows are not drawn. Raises TraceError, OSError."""
    files = client_files(file)
    if not files:
        raise TraceError(f"{TRACE} {path}: expected a folder with files like chunk-1{TRACE_ENDING}, found none in it.")
    clients = [_client(path, each, skip_bad) for each in files]
    begins_s = [window.begin_s for client in clients for _, window in client.windows]
    rows = sum(client.rows for client in clients)
    if not begins_s:
        raise TraceError(f"{TRACE} {path}: it holds no request to replay: all of its {rows:,} windows are idle.")
    begin_s = min(begins_s)
    from_s, until_s = (begin_s + edge_s for edge_s in window_s)
    drawn = list(_drawn(path, clients, seed, from_s, until_s))
    bad = sum(client.bad for client in clients)
    times_s = np.concatenate([np.empty(0), *(each.times_s for each in drawn)])
    order = np.argsort(times_s, kind="stable")
    none = np.empty(0, np.int64)
    return Trace(
        path,
        TraceFormat.SERVEGEN,
        times_s[order] - begin_s,
        np.concatenate([none, *(each.input_tokens for each in drawn)])[order],
        np.concatenate([none, *(each.output_tokens for each in drawn)])[order],
        np.full(len(order), -1),
        (),
        block_tokens=0,
        has_times=True,
        rows=rows,
        skipped={BAD_ROW: bad} if bad else {},
        sha256=_digest(files),
        span_s=max(begins_s) + WINDOW_S - begin_s,
    )


def _digest(files: Sequence[Path]) -> str:
    found = [digest_of(each) + digest_of(dataset_of(each)) for each in files]
    return hashlib.sha256("".join(found).encode()).hexdigest()


def _client(path: str, file: Path, skip_bad: bool) -> _Client:
    lengths_file = dataset_of(file)
    if not file.name.removesuffix(".gz").endswith(TRACE_ENDING) or not lengths_file.is_file():
        raise TraceError(
            f"{TRACE} {path}: expected the two files of a ServeGen client side by side, NAME{TRACE_ENDING} and "
            f"NAME{DATASET_ENDING}; got no {lengths_file.name}."
        )
    try:
        check_file(file, _MOST_BYTES)
        lengths = length_windows(read_file(lengths_file, _MOST_BYTES))
    except (RowFault, UnusableFile) as fault:
        raise TraceError(f"{TRACE} {path}: {lengths_file.name}: {fault}.") from None
    windows: list[tuple[int, RateWindow]] = []
    rows = bad = 0
    with opened(file) as content:
        for line, cells in csv_rows(content):
            rows += 1
            try:
                if (window := rate_window(cells)) is not None:
                    windows.append((line, window))
            except RowFault as fault:
                if not skip_bad:
                    raise _wrong(path, file, line, fault) from None
                bad += 1
    return _Client(file, windows, lengths, rows, bad)


def _drawn(path: str, clients: Sequence[_Client], seed: int, from_s: float, until_s: float) -> Iterator[DrawnRequests]:
    chosen = [
        (client, line, window)
        for client in clients
        for line, window in client.windows
        if window.begin_s < until_s and window.begin_s + WINDOW_S > from_s
    ]
    requests = sum(window.rate for _, _, window in chosen) * WINDOW_S
    if requests > _MOST_DRAWN:
        raise TraceError(
            f"{TRACE} {path}: its windows have {requests:,.0f} requests, expected at most {_MOST_DRAWN:,}: replay a "
            "part of them with --trace-window."
        )
    for client, line, window in chosen:
        try:
            yield drawn_requests(window, client.lengths, seed, client.file.name)
        except RowFault as fault:
            raise _wrong(path, client.file, line, fault) from None


def _wrong(path: str, file: Path, line: int, fault: RowFault) -> TraceError:
    name = "" if Path(path).name == file.name else f"{file.name}: "
    return TraceError(f"{TRACE} {path}: {name}line {line}: {fault}.")
