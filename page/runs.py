"""Runs that left a folder: which there are, and which of their files may be fetched."""

from __future__ import annotations

from pathlib import Path

import msgspec

from metrics.run import Status

#: What stands in a list of runs, and in Locust's own page, by the name of its file.
LINKED = ("report.html", "summary.csv", "windows.csv", "requests.csv", "histograms.csv", "server.csv", "summary.json")
_MOST = 100


class PastRun(msgspec.Struct, frozen=True):
    """One folder. files: those of LINKED that are there; validity: None where the run has not ended."""

    folder: str
    started_at: str
    status: str
    engine: str
    model: str
    host: str
    shape: str
    levels: list[str]
    validity: str | None
    files: list[str]


class _Verdict(msgspec.Struct):
    verdict: str


class _PlannedLevel(msgspec.Struct):
    level: str
    system_prompt: str


class _RunFile(msgspec.Struct):
    started_at: str
    status: str
    engine: str
    host: str
    model: str = ""
    shape: str = ""
    plan: list[_PlannedLevel] = []
    validity: _Verdict | None = None


class RunShelf:
    """The folder of results. What was read of a run that is over is kept."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, int], PastRun] = {}

    def runs(self, results: Path) -> list[PastRun]:
        """The newest hundred, newest first: folders are named by their time. One that cannot be read is left out."""
        folders = sorted((file.parent for file in results.glob("*/run.json") if _inside(file, results)), reverse=True)[
            :_MOST
        ]
        return [run for folder in folders if (run := self._run(folder)) is not None]

    def file(self, results: Path, run: str, name: str) -> Path | None:
        """A file of a run, None where there is no such file, or none that a run left: nothing outside of the results
        folder, even if a link in it leads there."""
        folder = results / run
        try:
            if folder.parent != results or not (folder / "run.json").is_file():
                return None
            file = folder / name
            own = folder.resolve()
            inside = own.parent == results.resolve() and file.resolve().is_relative_to(own)
            return file if inside and ".." not in Path(name).parts and file.is_file() else None
        except (OSError, ValueError, RuntimeError):  # a name that is too long or holds a NUL, links that go in circles
            return None

    def _run(self, folder: Path) -> PastRun | None:
        try:
            key = (folder, (folder / "run.json").stat().st_mtime_ns)
            if key not in self._known:
                facts = msgspec.json.decode((folder / "run.json").read_bytes(), type=_RunFile)
                self._known[key] = _past_run(folder, facts)
            known = self._known[key]
            files = [name for name in LINKED if (folder / name).is_file()]
        except (OSError, msgspec.MsgspecError):
            return None
        return msgspec.structs.replace(known, files=files)


def _inside(file: Path, results: Path) -> bool:
    """Whether it is in a run's folder of these results, and not where a link leads."""
    try:
        return file.resolve().parent.parent == results.resolve()
    except (OSError, RuntimeError):
        return False


def _past_run(folder: Path, facts: _RunFile) -> PastRun:
    return PastRun(
        folder=folder.name,
        started_at=facts.started_at,
        status=facts.status,
        engine=facts.engine,
        model=facts.model,
        host=facts.host,
        shape=facts.shape,
        levels=list(dict.fromkeys(stage.level for stage in facts.plan)),
        validity=facts.validity.verdict if facts.validity and facts.status != Status.RUNNING else None,
        files=[],
    )
