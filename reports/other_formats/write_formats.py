"""Writes a run's levels as other tools' result files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tokenswarm.reports.level_names import level_name
from tokenswarm.reports.other_formats.aiperf_records import aiperf_records
from tokenswarm.reports.other_formats.level_requests import LevelRequests, requests_of_level
from tokenswarm.reports.other_formats.llmd_report import llmd_report
from tokenswarm.reports.other_formats.vllm_result import vllm_result
from tokenswarm.run_folder.reader import ReportError, Results
from tokenswarm.run_folder.schema import LevelSummary

_Documents = Callable[[Results, LevelSummary, LevelRequests], Iterable[dict[str, Any]]]


def _vllm(results: Results, level: LevelSummary, requests: LevelRequests) -> Iterable[dict[str, Any]]:
    return [vllm_result(results, level, requests)]


def _llmd(results: Results, level: LevelSummary, requests: LevelRequests) -> Iterable[dict[str, Any]]:
    return [llmd_report(results, level, requests)]


#: By the name that --to takes: the JSON documents of a level, one a line.
FORMATS: dict[str, _Documents] = {"vllm": _vllm, "aiperf": aiperf_records, "llmd": _llmd}


def write_formats(results: Results, name: str, path: Path) -> list[Path]:
    """Each level as a file of the format: `path` where the run has one level, else with the level's name before its
    ending (`result-50-on.json`), as these tools take a level as a run. Returns the files. Raises ReportError, also for
    a level of which no request was ok."""
    written = []
    for level in results.summary.levels:
        requests = requests_of_level(results, level)
        if not requests.ok.any():
            raise ReportError(f"no request of {level_name(level)} was ok: there is nothing to write as {name}.")
        file = path if len(results.summary.levels) == 1 else _of_level(path, level)
        try:
            with file.open("w", encoding="utf-8") as lines:
                for document in FORMATS[name](results, level, requests):
                    lines.write(json.dumps(document, allow_nan=False) + "\n")
        except OSError as error:
            raise ReportError(f"{file} cannot be written: {error.strerror}.") from error
        written.append(file)
    return written


def _of_level(path: Path, level: LevelSummary) -> Path:
    load = level.level.replace("/s", "-per-s").replace(" ", "-").replace("/", "-")
    return path.with_name(f"{path.stem}-{load}-{level.system_prompt}{path.suffix}")
