"""Past runs: which there are, what is wrong with their folders, and which of their files may be downloaded."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from tokenswarm.recording.frames import FrameReader, FramesBusy
from tokenswarm.run_folder.completeness import RUN_LOG
from tokenswarm.run_folder.latest import is_latest
from tokenswarm.run_folder.reader import DamagedFolder, ReportError, load_results, run_file
from tokenswarm.run_folder.schema import FORMAT, Status
from tokenswarm.sanitize import UnusableFile, read_file, shown, shown_values

#: Files that the list of runs and Locust's own page link to.
LINKED = ("report.html", "summary.csv", "windows.csv", "requests.csv", "histograms.csv", "server.csv", "summary.json")
#: A folder is a run's if it has one of them.
_OF_A_RUN = ("run.json", "summary.json", "requests.csv")
#: The manifest of a sweep, in a folder that holds its runs.
SWEEP_MANIFEST = "sweep.json"
#: Runs that a list has, unless it is to have all.
MOST_LISTED = 100
_MOST_BYTES = 256 * 2**20
_UNREADABLE = (UnusableFile, msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_DAMAGED = "damaged"
_NOT_ENDED = "not ended"
_OWN_SPOOL = "spool"


class Headline(msgspec.Struct, frozen=True):
    """A run in three figures: of the hold of the level with the most tokens/s of all users together. Latencies in
    seconds, None where no request was answered."""

    level: str
    system_prompt: str
    token_rate: float
    ttft_p50_s: float | None = None
    ttft_p95_s: float | None = None


class PastRun(msgspec.Struct, frozen=True):
    """One folder. status: a Status, `not ended` or `damaged`; validity: None where the run has no verdict; files: those
    of LINKED that are there; note: what is wrong with the folder, "" where nothing is; recover: the command that
    completes it, "" where none does; comparable: whether it can be compared with others; spool: its spool folder,
    relative to `folder`; name, tags: what a person calls it; headline: None where no level has a token rate."""

    folder: str
    status: str
    started_at: str = ""
    engine: str = ""
    model: str = ""
    host: str = ""
    shape: str = ""
    levels: list[str] = []
    validity: str | None = None
    files: list[str] = []
    note: str = ""
    recover: str = ""
    comparable: bool = False
    spool: str = ""
    name: str = ""
    tags: dict[str, str] = {}
    headline: Headline | None = None

    @property
    def verdict(self) -> str:
        """Its verdict; its status where it has none."""
        return self.validity or self.status


class _Verdict(msgspec.Struct):
    verdict: str


class _PlannedLevel(msgspec.Struct):
    level: str
    system_prompt: str


class _RunFile(msgspec.Struct):
    started_at: str
    status: str
    engine: str
    format: int
    host: str = ""
    model: str | None = None
    shape: str | None = None
    plan: list[_PlannedLevel] = []
    validity: _Verdict | None = None
    spool_folder: str | None = None
    name: str = ""
    tags: dict[str, str] = {}


class _Value(msgspec.Struct):
    value: float


class _Times(msgspec.Struct):
    p50: _Value | None = None
    p95: _Value | None = None


class _Hold(msgspec.Struct):
    ttft_s: _Times
    token_rate: float | None = None


class _LevelHead(msgspec.Struct):
    level: str
    system_prompt: str
    hold: _Hold


class _SummaryFile(msgspec.Struct):
    """As much as distinguishes a whole file from one that was cut short."""

    levels: list[msgspec.Raw]
    format: int


class RunIndex:
    """The results folder. What was read of a folder is cached until its files change."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, int, int], PastRun] = {}

    def runs(
        self, results: Path, running: str | None = None, name: str = "results", most: int | None = MOST_LISTED
    ) -> list[PastRun]:
        """The newest of them, `most` at most (None: all), newest first: folders are named by their time. running: the
        folder of this process's own run while it goes on; name: what notes call the results folder."""
        folders = {file.parent for each in _OF_A_RUN for file in results.glob(f"*/{each}") if _inside(file, results)}
        newest = sorted((folder for folder in folders if not is_latest(folder)), reverse=True)[:most]
        found = [(folder, self._run(folder, running)) for folder in newest]
        return [_named(run, folder, f"{name.rstrip('/')}/{folder.name}") for folder, run in found]

    def run_of(self, folder: Path) -> PastRun:
        """That of one folder."""
        return self._run(folder, None)

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

    def _run(self, folder: Path, running: str | None) -> PastRun:
        key = (folder, _changed_ns(folder / "run.json"), _changed_ns(folder / "summary.json"))
        if key not in self._known:
            self._known = {known: run for known, run in self._known.items() if known[0] != folder}
            self._known[key] = _read(folder)
        run = self._known[key]
        if run.status == Status.RUNNING:
            run = run if folder.name == running else _with_state(run, folder)
        is_run = (folder / "run.json").is_file()  # no file of another folder is served
        return msgspec.structs.replace(run, files=[name for name in LINKED if is_run and (folder / name).is_file()])


def recover_command(folder: str) -> str:
    """The command that completes the folder of a run whose processes were killed."""
    return f"tokenswarm recover {shlex.quote(folder)}"


def _inside(file: Path, results: Path) -> bool:
    """Whether it is in a run's folder of these results, and not where a link leads."""
    try:
        return file.resolve().parent.parent == results.resolve()
    except (OSError, RuntimeError):
        return False


def _read(folder: Path) -> PastRun:
    """As its two JSON files say."""
    try:
        facts = msgspec.json.decode(read_file(run_file(folder), _MOST_BYTES), type=_RunFile)
        if not 1 <= facts.format <= FORMAT:
            raise msgspec.ValidationError(f"format {facts.format}")
    except (OSError, ReportError, *_UNREADABLE) as error:
        return _damaged(PastRun(folder.name, _DAMAGED), folder, error)
    run = PastRun(
        folder=folder.name,
        started_at=facts.started_at,
        status=facts.status,
        engine=facts.engine,
        model=facts.model or "",
        host=facts.host,
        shape=facts.shape or "",
        levels=list(dict.fromkeys(level.level for level in facts.plan)),
        spool=facts.spool_folder or "",
        name=shown(facts.name),
        tags=shown_values(facts.tags),
    )
    if facts.status == Status.RUNNING:
        return run
    try:
        summary = msgspec.json.decode(read_file(folder / "summary.json", _MOST_BYTES), type=_SummaryFile)
        if not 1 <= summary.format <= FORMAT:
            raise msgspec.ValidationError(f"format {summary.format}")
    except (OSError, *_UNREADABLE) as error:
        return _damaged(run, folder, error)
    failed = facts.status == Status.FAILED  # earlier versions gave it another verdict
    verdict = None if facts.validity is None else Status.FAILED.value if failed else facts.validity.verdict
    note = "" if summary.levels else "The run ended before its first level began."
    return msgspec.structs.replace(
        run, validity=verdict, comparable=bool(summary.levels), note=note, headline=_headline(summary.levels)
    )


def _headline(levels: Sequence[msgspec.Raw]) -> Headline | None:
    """Levels that are not as a run writes them have no figures here: whether the folder is damaged is decided without
    them."""
    found = []
    for raw in levels:
        with suppress(msgspec.MsgspecError):
            level = msgspec.json.decode(raw, type=_LevelHead)
            if level.hold.token_rate is not None:
                found.append(level)
    if not found:
        return None
    best = max(found, key=lambda level: level.hold.token_rate or 0.0)
    p50, p95 = (None if each is None else each.value for each in (best.hold.ttft_s.p50, best.hold.ttft_s.p95))
    return Headline(shown(best.level), best.system_prompt, best.hold.token_rate or 0.0, p50, p95)


def _damaged(run: PastRun, folder: Path, error: Exception) -> PastRun:
    """With the sentence that `tokenswarm report` has for the folder."""
    note = f"{folder} cannot be read: {error}."
    try:
        load_results(folder)
    except DamagedFolder as damaged:
        note = damaged.finding  # beside it stands what to do
    except ReportError as reported:
        note = str(reported)
    recover = str(folder) if (folder / (run.spool or _OWN_SPOOL) / RUN_LOG).is_file() else ""
    if not recover and "spool" not in note:
        note = f"{note} There is no spool to rebuild it from."
    return msgspec.structs.replace(run, status=_DAMAGED, note=note, recover=recover)


def _with_state(run: PastRun, folder: Path) -> PastRun:
    """Of a run that run.json says is running, and that is none of this process."""
    try:
        next(iter(FrameReader(folder / (run.spool or _OWN_SPOOL) / RUN_LOG)), None)
    except FramesBusy:
        return msgspec.structs.replace(run, note="It runs in another process.")
    except OSError:
        note = "Its process still runs, or was killed. There is no spool to recover it from."
        return msgspec.structs.replace(run, status=_NOT_ENDED, note=note)
    note = "Its processes ended before the run did."
    return msgspec.structs.replace(run, status=_NOT_ENDED, note=note, recover=str(folder))


def _named(run: PastRun, folder: Path, shown: str) -> PastRun:
    """With its folder named as people know it."""
    recover = recover_command(shown) if run.recover else ""
    return msgspec.structs.replace(run, note=run.note.replace(str(folder), shown), recover=recover)


def _changed_ns(file: Path) -> int:
    """When it was written last, 0 where it is not there."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
