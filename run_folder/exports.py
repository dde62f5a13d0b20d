"""A run's requests in other formats: Parquet for data frames, an HdrHistogram log for its viewers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogWriter

from tokenswarm.metrics.intervals import Series
from tokenswarm.run_folder.arrow import load_arrow
from tokenswarm.run_folder.csv_reader import load_requests
from tokenswarm.run_folder.older_formats import OLDER_COLUMNS, column_today
from tokenswarm.run_folder.reader import ReportError, Results
from tokenswarm.run_folder.schema import REQUEST_COLUMNS

_TEXT = {"id", "user", "system_prompt", "level", "phase", "outcome", "stamps", "finish_reason", "error"}
_TEXT |= {"output_tokens_source", "prompt_tokens_source", "prompt_id", "prompt_hash"}
_TEXT |= {"custom_id", "server_request_id", "trace_id", "deviations", "model", "host", "session", "agent", "name"}
_FLAGS = {"gaps_measured", "abandons"}
#: Latencies that requests.csv has of each request, in microseconds with three significant digits, up to an hour.
_LOGGED = ("ttft", "ttfvt", "tpot", "e2e")
_HIGHEST_US = 3_600_000_000
_US_PER_MS = 1000.0


def write_parquet(results: Results, path: Path) -> int:
    """requests.csv as Parquet, its columns with their types and today's names; returns the number of rows. Raises
    ReportError.

    Block by block, so that memory does not grow with the run. Columns that the folder is too old for are left out.
    """
    pa = load_arrow()
    from pyarrow import parquet

    source = results.folder / "requests.csv"
    convert = pa.csv.ConvertOptions(
        column_types={name: _arrow_type(name, pa) for name in (*REQUEST_COLUMNS, *OLDER_COLUMNS.values())},
        null_values=[""],
        strings_can_be_null=True,
    )
    rows = 0
    try:
        with (
            pa.csv.open_csv(
                source, parse_options=pa.csv.ParseOptions(newlines_in_values=True), convert_options=convert
            ) as reader,
            parquet.ParquetWriter(path, _with_names_of_today(reader.schema, pa)) as writer,
        ):
            for batch in reader:
                writer.write_batch(batch.rename_columns(writer.schema.names))
                rows += batch.num_rows
    except pa.ArrowInvalid as error:
        raise ReportError(f"{source} cannot be written as {path}: {' '.join(str(error).split())[:200]}.") from error
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not source.exists():
            raise ReportError(f"{source} is missing.") from error
        raise ReportError(f"{path} cannot be written: {_reason(error)}.") from error
    return rows


def _reason(error: OSError) -> str:
    """In the system's own words, also where pyarrow puts its own around them."""
    if error.errno is not None:
        return os.strerror(error.errno)
    text = " ".join(str(error).split())
    number = re.match(r"\[Errno (\d+)\]", text)
    return os.strerror(int(number[1])) if number else text[:200]


def _with_names_of_today(schema: Any, pa: Any) -> Any:
    return pa.schema([field.with_name(column_today(field.name, schema.names)) for field in schema])


def _arrow_type(name: str, pa: Any) -> Any:
    if name in _TEXT:
        return pa.string()
    if name in _FLAGS:
        return pa.bool_()
    return pa.float64() if name.endswith(("_s", "_ms")) else pa.int64()


def write_hlog(results: Results, path: Path) -> int:
    """An HdrHistogram log (format 1.2) of the latencies of each level's hold: lines tagged `ttft-off-50` and the like,
    values in microseconds, the maximum column in milliseconds. Returns the number of lines. Raises ReportError."""
    lines = list(_log_lines(results))
    try:
        with path.open("w", encoding="utf-8") as file:
            writer = HistogramLogWriter(file)
            writer.output_comment("[Logged with Tokenswarm]")
            writer.output_log_format_version()
            writer.output_base_time(int(results.run.started_at.timestamp() * 1000))
            writer.output_legend()
            for tag, began_s, ended_s, histogram in lines:
                file.write(f"Tag={tag},")  # the library reads tags, and does not write them
                writer.output_interval_histogram(histogram, began_s, ended_s, _US_PER_MS)
    except OSError as error:
        raise ReportError(f"{path} cannot be written: {error.strerror}.") from error
    return len(lines)


def _log_lines(results: Results) -> Iterator[tuple[str, float, float, HdrHistogram]]:
    requests = load_requests(results, _LOGGED)
    for level in results.summary.levels:
        of_level = requests.of(level)
        of_level = of_level.where(of_level.ok)
        for name in _LOGGED:
            values_s = of_level.latencies(name)
            if len(values_s):
                tag = f"{name}-{level.system_prompt}-{level.level}"
                began_s = float(of_level.sent_s[0])
                yield tag, began_s, began_s + level.hold.seconds, _histogram(values_s)


def _histogram(values_s: Series) -> HdrHistogram:
    histogram = HdrHistogram(1, _HIGHEST_US, 3)
    values, counts = np.unique(np.clip(np.rint(values_s * 1e6), 0, _HIGHEST_US).astype(np.int64), return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist()):
        histogram.record_value(value, count)
    return histogram
