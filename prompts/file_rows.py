"""Rows of local files, read as a stream: JSON lines, JSON, CSV, Parquet and Arrow, the first three also with gzip.

Only what is used is kept, so that a file of any size is read in little memory, and other columns may hold anything.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from tokenswarm.prompts.json_rows import MOST_ROW_BYTES, UnsoundRows, rows_of_document, rows_of_lines

Row = Mapping[str, Any]

#: What is read of a file to learn its columns.
_FIRST_ROWS = 100
_PARQUET_ROWS = 1000
_BUFFER_BYTES = 2**20
_GZIP_MAGIC = b"\x1f\x8b"
_ARROW_MAGIC = b"ARROW1"


class CellKind(Enum):
    """What cells are: JSON values; texts alone; or values of columns that have one type each."""

    JSON = "json"
    TEXT = "text"
    ARROW = "arrow"


class PromptTable(NamedTuple):
    """columns: their names; rows: a function that reads the rows anew, with these columns at least. place: of the row
    of this number from 1, as a sentence names it."""

    columns: tuple[str, ...]
    rows: Callable[[list[str]], Iterable[Row]]
    cells: CellKind = CellKind.JSON
    place: Callable[[int], str] = "row {}".format


class FileKind(NamedTuple):
    """name: as a person calls it. open_table: raises UnsoundRows, OSError."""

    name: str
    open_table: Callable[[Path], PromptTable]


def kind_of(path: Path) -> FileKind | None:
    """The kind of a file by its name; None for an unknown one."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
        if suffixes[-1:] in ([".parquet"], [".arrow"], [".feather"]):
            return None
    return _KINDS.get(suffixes[-1]) if suffixes else None


def _json_table(path: Path, read: Callable[[BinaryIO], Iterator[Any]]) -> PromptTable:
    def rows(_: Iterable[str] = ()) -> Iterator[Row]:
        with opened(path) as file:
            for number, row in enumerate(read(file), start=1):
                if isinstance(row, str):
                    yield {"text": row}
                elif isinstance(row, dict):
                    yield row
                else:
                    raise UnsoundRows(f"row {number} is {_json_type(row)}, expected an object")

    first: dict[str, None] = {}
    for row in islice(rows(), _FIRST_ROWS):
        first.update(dict.fromkeys(row))
    return PromptTable(tuple(first), rows)


def _csv_table(path: Path) -> PromptTable:
    csv.field_size_limit(MOST_ROW_BYTES)
    with opened(path) as file:
        header = next(_csv_lines(file), [])

    def rows(_: Iterable[str] = ()) -> Iterator[Row]:
        with opened(path) as file:
            lines = _csv_lines(file)
            next(lines, None)
            for number, cells in enumerate(lines, start=1):
                if len(cells) > len(header):
                    raise UnsoundRows(f"row {number} has {len(cells)} cells, the first line names {len(header)}")
                yield dict(zip(header, cells))

    return PromptTable(tuple(header), rows, CellKind.TEXT)


def _csv_lines(file: BinaryIO) -> Iterator[list[str]]:
    reader = csv.reader(io.TextIOWrapper(file, "utf-8-sig", newline=""), strict=True)
    try:
        yield from filter(None, reader)
    except csv.Error as error:
        raise UnsoundRows(f"line {reader.line_num}: {error}") from None
    except UnicodeDecodeError as error:
        raise UnsoundRows(f"behind line {reader.line_num}: {error}") from None


def _parquet_table(path: Path) -> PromptTable:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def opened() -> Any:
        try:
            return pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        except pa.ArrowException as error:
            raise UnsoundRows(str(error)) from None

    def rows(used: Iterable[str]) -> Iterator[Row]:
        with opened() as file:
            try:
                for batch in file.iter_batches(_PARQUET_ROWS, columns=list(used), use_threads=False):
                    yield from batch.to_pylist()
            except pa.ArrowException as error:
                raise UnsoundRows(str(error)) from None

    with opened() as file:
        return PromptTable(tuple(file.schema_arrow.names), rows, CellKind.ARROW)


def _arrow_table(path: Path) -> PromptTable:
    """A file of Arrow's, of either form: with an index of its batches, or a stream of them."""
    import pyarrow as pa

    with path.open("rb") as file:
        is_stream = file.read(len(_ARROW_MAGIC)) != _ARROW_MAGIC

    @contextmanager
    def opened(columns: Collection[str] | None = None) -> Iterator[Any]:
        try:
            with pa.memory_map(str(path)) as file:
                names = (pa.ipc.open_stream if is_stream else pa.ipc.open_file)(file).schema.names
                used = None if columns is None else [names.index(name) for name in columns]
                file.seek(0)
                options = pa.ipc.IpcReadOptions(included_fields=used, use_threads=False)
                yield (pa.ipc.open_stream if is_stream else pa.ipc.open_file)(file, options=options)
        except pa.ArrowException as error:
            raise UnsoundRows(str(error)) from None

    def rows(used: Collection[str]) -> Iterator[Row]:
        with opened(used) as reader:
            batches = reader if is_stream else (reader.get_batch(n) for n in range(reader.num_record_batches))
            for batch in batches:
                for first in range(0, batch.num_rows, _PARQUET_ROWS):
                    yield from batch.slice(first, _PARQUET_ROWS).to_pylist()

    with opened() as reader:
        return PromptTable(tuple(reader.schema.names), rows, CellKind.ARROW)


def folder_table(paths: Sequence[Path]) -> PromptTable:
    """The rows of JSON files one after the other. Raises UnsoundRows, which names the file, OSError."""
    tables = []
    for path in paths:
        with _naming(path):
            documents = path.name.lower().removesuffix(".gz").endswith(".json")
            tables.append(_json_table(path, rows_of_document if documents else rows_of_lines))
    starts: list[int] = []

    def rows(used: Iterable[str]) -> Iterator[Row]:
        number = 0
        starts.clear()
        for path, table in zip(paths, tables, strict=True):
            starts.append(number)
            with _naming(path):
                for row in table.rows(list(used)):
                    number += 1
                    yield row

    def place(number: int) -> str:
        file = bisect_left(starts, number) - 1
        return f"{paths[file].name}: row {number - starts[file]}"

    columns = dict.fromkeys(name for table in tables for name in table.columns)
    return PromptTable(tuple(columns), rows, place=place)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except UnsoundRows as error:
        raise UnsoundRows(f"{path.name}: {error}") from None


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as raw:
        zipped = raw.peek(2)[:2] == _GZIP_MAGIC
        if not zipped:
            yield raw
            return
        with gzip.GzipFile(fileobj=raw) as plain:
            try:
                yield io.BufferedReader(plain, _BUFFER_BYTES)
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise UnsoundRows(f"it cannot be unpacked: {error}") from None


def _json_type(value: object) -> str:
    names = {list: "an array", bool: "true or false", int: "a number", float: "a number", type(None): "null"}
    return names.get(type(value), type(value).__name__)


_KINDS = {
    ".jsonl": FileKind("JSON", lambda path: _json_table(path, rows_of_lines)),
    ".ndjson": FileKind("JSON", lambda path: _json_table(path, rows_of_lines)),
    ".json": FileKind("JSON", lambda path: _json_table(path, rows_of_document)),
    ".csv": FileKind("CSV", _csv_table),
    ".parquet": FileKind("Parquet", _parquet_table),
    ".arrow": FileKind("Arrow", _arrow_table),
    ".feather": FileKind("Arrow", _arrow_table),
}
