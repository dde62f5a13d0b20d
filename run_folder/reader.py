"""A results folder, read back: run.json (what was run) and summary.json (what came of it).

Keys that are not named here are ignored, so a newer writer of the same format stays readable; keys that came with a
later format have a default, so an older folder does too. The schema and its formats' history: run_folder/schema.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from tokenswarm.metrics.level import Level
from tokenswarm.run_folder.completeness import JOURNALS, RUN_LOG, journals_missing, readable_journals, requests_missing
from tokenswarm.run_folder.latest import followed, is_latest
from tokenswarm.run_folder.older_formats import with_names_of_today
from tokenswarm.run_folder.schema import FORMAT, RunDocument, Status, Summary
from tokenswarm.sanitize import UnusableFile, json_error_text, read_file, shown_values

#: A run of thousands of levels stays below it.
_MOST_BYTES = 256 * 2**20
# From harmless to worst: where the two files disagree, the worse one counts.
STATUSES = (Status.FINISHED, Status.RUNNING, Status.INTERRUPTED, Status.RECOVERED, Status.FAILED)
#: The first format of which every folder has windows.csv and histograms.csv.
_FORMAT_WITH_HISTOGRAMS = 3

#: Runs that a message lists.
_MOST_NAMED = 5
#: Where a run's spool lies that names no other folder.
_OWN_SPOOL = "spool"

T = TypeVar("T")


class ReportError(ValueError):
    """The results cannot be reported; the message is one sentence for the user."""


class DamagedFolder(ReportError):
    """A run's folder lacks files or holds files that cannot be read. finding: what is damaged, a sentence without what
    to do about it."""

    def __init__(self, folder: Path, finding: str, spool_folder: str | None = None) -> None:
        """spool_folder: as run.json names it."""
        self.finding = f"{finding}."
        if (folder / (spool_folder or _OWN_SPOOL) / RUN_LOG).is_file():
            advice = f"Rebuild it from its spool: tokenswarm recover {folder}"
        else:
            advice = f"There is no spool to rebuild it from; {readable_journals(folder)}"
        super().__init__(f"{self.finding} {advice}.")


class Results(msgspec.Struct, frozen=True, dict=True):
    """A whole results folder; `summary.levels` holds at least one level."""

    folder: Path
    run: RunDocument
    summary: Summary

    @property
    def status(self) -> Status:
        """How the run ended: the worse of what its two files say."""
        return max(self.run.status, self.summary.status, key=STATUSES.index)

    @cached_property
    def requests_missing(self) -> str | None:
        """What is wrong with requests.csv: that it is missing, or has fewer rows than the summary counts."""
        return requests_missing(self.folder, self.summary.accounting.rows)

    @property
    def files_missing(self) -> str | None:
        """What is wrong with the folder's files: requests_missing, and files that are missing. None where all is there.
        Folders of older formats may lack some."""
        missing = journals_missing(self.folder) if self.summary.format >= _FORMAT_WITH_HISTOGRAMS else None
        return ", and ".join(each for each in (self.requests_missing, missing) if each) or None

    def need_requests(self, options: str) -> None:
        """Raises ReportError where requests.csv is not whole, so that what `options` names would be wrong."""
        if self.requests_missing:
            raise ReportError(f"{self.folder}: {self.requests_missing}: {options} is not possible.")

    @property
    def not_run(self) -> tuple[Level, ...]:
        """The levels that were planned but have no figures."""
        measured = {level.index for level in self.summary.levels}
        return tuple(level for level in self.run.plan if level.index not in measured and not level.warm_up)


class _FormatHead(msgspec.Struct, frozen=True):
    format: int | None = None
    tokenswarm_version: str | None = None


def load_results(folder: str | Path) -> Results:
    """Read a results folder.

    Raises ReportError, in one sentence, for a folder that is missing, is none of ours, was left by a run that never
    wrote its summary, is of an unknown format, is damaged, or holds no level.
    """
    folder = followed(Path(folder))
    run = _read(run_file(folder), RunDocument, None)
    summary_file = folder / "summary.json"
    if not summary_file.is_file():
        raise _no_summary(folder, run)
    summary = _read(summary_file, Summary, run.spool_folder)
    if not summary.levels:
        raise ReportError(f"{summary_file} holds no level: the run ended before its first level began.")
    return _with_verdict(Results(folder, run, summary))


def _with_verdict(results: Results) -> Results:
    """A run that failed has that verdict; earlier versions wrote another one."""
    if results.status is not Status.FAILED:
        return results
    validity = replace(results.summary.validity, verdict="failed")
    return replace(
        results, run=replace(results.run, validity=validity), summary=replace(results.summary, validity=validity)
    )


def _meant(folder: Path) -> str:
    """What to give in place of a folder that does not exist: a run may have been named as lists name it."""
    listed = Path("results") / folder
    if len(folder.parts) == 1 and (listed / "run.json").is_file():
        return f"did you mean {listed}?"
    return "give the folder that a run left under results/."


def run_file(folder: Path) -> Path:
    """The folder's run.json. Raises ReportError for a folder that is missing or is none of ours."""
    if not folder.exists():
        raise ReportError(f"There is no folder {folder}; {_meant(folder)}")
    if not folder.is_dir():
        raise ReportError(f"{folder} is a file, not a results folder; give the folder that holds run.json.")
    run_file = folder / "run.json"
    if run_file.is_file():
        return run_file
    if runs := runs_in(folder):
        raise ReportError(f"{folder} is not a results folder, but {_listed(runs)}")
    if any((folder / name).is_file() for name in ("summary.json", *JOURNALS, f"{_OWN_SPOOL}/{RUN_LOG}")):
        raise DamagedFolder(folder, f"{folder} is damaged: run.json is missing")
    raise ReportError(
        f"{folder} is not a results folder: run.json and summary.json are missing; give the folder that a run left "
        "under results/."
    )


def runs_in(folder: Path) -> list[Path]:
    """The folders of runs right below this one, the newest first: they are named by their time."""
    found = (path.parent for path in folder.glob("*/run.json") if not is_latest(path.parent))
    return sorted(found, key=lambda path: path.name, reverse=True)


def _listed(runs: Sequence[Path]) -> str:
    if len(runs) == 1:
        return f"a folder that holds 1 run; give {runs[0]}."
    more = f" and {len(runs) - _MOST_NAMED:,} older ones" if len(runs) > _MOST_NAMED else ""
    names = ", ".join(map(str, runs[:_MOST_NAMED]))
    return f"a folder that holds {len(runs):,} runs; choose among them, the newest first: {names}{more}."


def _no_summary(folder: Path, run: RunDocument) -> ReportError:
    if run.status == "running":
        return ReportError(
            f"{folder / 'summary.json'} is missing because the run was killed or is still going (run.json says it is "
            f"running); {readable_journals(folder)}. Once its processes have ended, tokenswarm recover {folder} "
            "completes it."
        )
    finding = f"{folder} is damaged: summary.json is missing, though run.json says that the run ended ({run.status})"
    return DamagedFolder(folder, finding, run.spool_folder)


def _read(path: Path, kind: type[T], spool_folder: str | None) -> T:
    try:
        data = read_file(path, _MOST_BYTES)
        head = msgspec.json.decode(data, type=_FormatHead)
        format_ = _check_format(path, head)
        # Another's folder may hold what a terminal obeys, and one of an older version what a server repeated.
        document = with_names_of_today(shown_values(msgspec.json.decode(data)), format_)
        return msgspec.convert(document, type=kind)
    except UnusableFile as error:
        raise ReportError(f"{path} {error}.") from error
    except msgspec.ValidationError as error:
        finding = f"{path} is damaged: it is not as a run writes it ({error})"
        raise DamagedFolder(path.parent, finding, spool_folder) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        finding = f"{path} is damaged: it is not whole JSON ({json_error_text(error)})"
        raise DamagedFolder(path.parent, finding, spool_folder) from error


def _check_format(path: Path, head: _FormatHead) -> int:
    if head.format is not None and 1 <= head.format <= FORMAT:
        return head.format
    found = "names no format" if head.format is None else f"has format {head.format}"
    writer = f" (tokenswarm {head.tokenswarm_version})" if head.tokenswarm_version else ""
    raise ReportError(
        f"{path} {found}, but formats 1 to {FORMAT} are read here; use the version that wrote it{writer}."
    )
