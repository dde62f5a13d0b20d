"""A results folder, read back: run.json (what was run) and summary.json (what came of it).

Keys that are not named here are ignored, so a newer writer of the same format stays readable; keys that came with a
later format have a default here, so an older folder does too. The formats' history: metrics/summary.py.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from metrics.health import SelfCheck
from metrics.prompts_sent import PromptFigures
from metrics.summary import FORMAT
from sanitize import UnusableFile, read_file, shown_values

#: A run of thousands of levels stays below it.
_MOST_BYTES = 256 * 2**20
JOURNALS = ("requests.csv", "windows.csv", "histograms.csv")

Status = Literal["running", "finished", "interrupted", "failed", "recovered"]
SystemPrompt = Literal["off", "on"]

# From harmless to worst: where the two files disagree, the worse one is believed.
STATUSES: tuple[Status, ...] = ("finished", "running", "interrupted", "recovered", "failed")

T = TypeVar("T")


class ReportError(ValueError):
    """The results cannot be reported; the message is one sentence for the person who asked."""


class Quantile(msgspec.Struct, frozen=True):
    """A percentile and its 95 % interval, in the unit of the figure that holds it.

    `high` is None, and `certified` false, where the sample is too small for the interval's upper end.
    """

    value: float
    low: float
    high: float | None
    certified: bool


class Distribution(msgspec.Struct, frozen=True):
    """The percentiles of `count` values; None where there was no value."""

    count: int
    p50: Quantile | None
    p95: Quantile | None
    p99: Quantile | None
    p90: Quantile | None = None
    mean: float | None = None
    max: float | None = None
    min: float | None = None
    p1: Quantile | None = None
    p5: Quantile | None = None
    p10: Quantile | None = None


class ServerFigures(msgspec.Struct, frozen=True):
    """What the server told of itself in a part of a level; None where it does not tell. Shares are from 0 to 1,
    the mean TTFT is in seconds."""

    requests_running_mean: float | None = None
    requests_waiting_mean: float | None = None
    kv_cache_utilization_mean: float | None = None
    prefix_cache_hit_ratio: float | None = None
    gpu_utilization_mean: float | None = None
    ttft_s_mean: float | None = None
    output_token_rate: float | None = None


class Goodput(msgspec.Struct, frozen=True):
    """What met every objective; `fraction` (0 to 1) is of all requests sent, failures included, with its interval.
    tokens_per_s: None where objectives were set after the run, which kept no token's time."""

    requests_per_s: float
    tokens_per_s: float | None
    fraction: float | None
    fraction_low: float | None = None
    fraction_high: float | None = None


class Figures(msgspec.Struct, frozen=True):
    """One part (hold, or whole) of a level. Times in seconds, rates a second, None where undefined.

    `requests` were sent in this part, `outcomes` is what became of them, `failures` is every outcome but ok and cut.
    `token_rate` is of all users together, `request_token_rate` of each request alone, in tokens a second.
    """

    seconds: float
    requests: int
    outcomes: dict[str, int]
    failures: int
    token_rate: float | None
    goodput: Goodput | None
    output_tokens_sources: dict[str, int]
    ttft_s: Distribution
    tpot_s: Distribution
    request_token_rate: Distribution
    request_rate: float | None = None
    ttfvt_s: Distribution | None = None
    gap_s: Distribution | None = None
    e2e_s: Distribution | None = None
    ttft_uncertainty_s: Distribution | None = None
    client_delay_s: Distribution | None = None
    loop_lag_s: Distribution | None = None
    stamps: dict[str, int] = {}
    server: ServerFigures | None = None
    prompts: PromptFigures = PromptFigures()
    retries: int = 0
    requests_without_tpot: int = 0

    @property
    def network_and_gateway_s(self) -> float | None:
        """Mean TTFT as the client saw it − as the server counted it: what lies between the two. None where it would be
        negative: the two means are then too unlike in their requests to be subtracted."""
        if self.server is None or self.server.ttft_s_mean is None or self.ttft_s.mean is None:
            return None
        between_s = self.ttft_s.mean - self.server.ttft_s_mean
        return between_s if between_s >= 0 else None


class Concurrency(msgspec.Struct, frozen=True):
    """Users that were there in the whole seconds of a hold: their mean, the fewest, and the share (0 to 1) of the
    seconds in which less than 95 % of the requested users were there."""

    requested: int
    mean: float
    min: float
    short_share: float


class Level(msgspec.Struct, frozen=True):
    """One stage of the run: so many users, with the system prompt or without."""

    stage: int
    system_prompt: SystemPrompt
    level: str
    users: int
    complete: bool
    hold: Figures
    whole: Figures
    meets_objectives: bool | None = None
    concurrency: Concurrency | None = None

    @property
    def name(self) -> str:
        """The level as a person calls it: its number of users, and its own name where that says more."""
        return self.level if self.level == str(self.users) else f"{self.level} ({self.users})"


class Stage(msgspec.Struct, frozen=True):
    """One stage as it was planned; level_time_s, ramp included, is None where the end was open."""

    stage: int
    system_prompt: SystemPrompt
    level: str
    users: int = 0
    ramp_s: float = 0.0
    level_time_s: float | None = None


class Validity(msgspec.Struct, frozen=True):
    """Whether the client's own delay reached into the figures, and the reasons to think so."""

    verdict: Literal["valid", "suspect"]
    reasons: tuple[str, ...] = ()


class Books(msgspec.Struct, frozen=True):
    """Requests fired by the users, merged by the recorder, and written to requests.csv."""

    fired: int
    recorded: int
    rows: int
    balanced: bool
    unaccounted: int = 0


class Worker(msgspec.Struct, frozen=True):
    """What a report tells of a worker. Utilizations are of one core, 0 to 1."""

    worker: int
    self_check: SelfCheck | None
    requests: int | None = None
    cpu_utilization: float | None = None
    cpu_utilization_hold_max: float | None = None
    loop_lag_p99_s: float | None = None
    client_delay_p99_s: float | None = None
    validity: Validity | None = None


class Run(msgspec.Struct, frozen=True):
    """The part of run.json that a report tells. options: Tokenswarm's own, as they stood."""

    started_at: datetime
    status: Status
    plan: tuple[Stage, ...] = ()
    shape: str = ""
    chat_template: str | None = None
    engine_version: str | None = None
    options: dict[str, Any] = {}
    prompts: dict[str, Any] = {}
    ended_at: datetime | None = None
    gateway: str | None = None
    engine_evidence: tuple[str, ...] = ()
    cold_start_s: float | None = None
    embedded_simulator: bool = False
    workers: int | None = None
    server_metrics: dict[str, Any] = {}
    tokenswarm_version: str = ""
    python: str = ""
    platform: str = ""


class Capacity(msgspec.Struct, frozen=True):
    """The largest level of a system-prompt mode that meets the objectives as all the smaller ones do."""

    system_prompt: SystemPrompt
    level: str | None
    users: int | None


class Summary(msgspec.Struct, frozen=True):
    """summary.json: what was measured, level by level. objective_share: None in folders of before it was stated."""

    status: Status
    engine: str
    model: str | None
    host: str | None
    validity: Validity
    books: Books
    objectives: dict[str, float]
    levels: tuple[Level, ...]
    workers: tuple[Worker, ...] = ()
    hints: tuple[str, ...] = ()
    objective_share: float | None = None
    capacity: tuple[Capacity, ...] = ()
    prompts: PromptFigures = PromptFigures()


class Results(msgspec.Struct, frozen=True):
    """A whole results folder; `summary.levels` holds at least one level."""

    folder: Path
    run: Run
    summary: Summary

    @property
    def status(self) -> Status:
        """How the run ended: the worse of what its two files say."""
        return max(self.run.status, self.summary.status, key=STATUSES.index)

    @property
    def not_run(self) -> tuple[Stage, ...]:
        """The stages that were planned but have no figures."""
        measured = {level.stage for level in self.summary.levels}
        return tuple(stage for stage in self.run.plan if stage.stage not in measured)


class _Head(msgspec.Struct, frozen=True):
    format: int | None = None
    tokenswarm_version: str | None = None


def load_results(folder: str | Path) -> Results:
    """Read a results folder.

    Raises ReportError, in one sentence, for a folder that is missing, is none of ours, was left by a run that never
    wrote its summary, is of an unknown format, is damaged, or holds no level.
    """
    folder = Path(folder)
    run = _read(_run_file(folder), Run)
    summary_file = folder / "summary.json"
    if not summary_file.is_file():
        raise ReportError(_no_summary(folder, run))
    summary = _read(summary_file, Summary)
    if not summary.levels:
        raise ReportError(f"{summary_file} holds no level: the run ended before its first level began.")
    return Results(folder, run, summary)


def _run_file(folder: Path) -> Path:
    if not folder.exists():
        raise ReportError(f"There is no folder {folder}; give the folder that a run left under results/.")
    if not folder.is_dir():
        raise ReportError(f"{folder} is a file, not a results folder; give the folder that holds run.json.")
    run_file = folder / "run.json"
    if run_file.is_file():
        return run_file
    missing = "run.json and summary.json are" if not (folder / "summary.json").is_file() else "run.json is"
    # Folders are named by their time, so the last by name is the newest.
    runs = sorted(path.parent.name for path in folder.glob("*/run.json"))
    hint = f"; it holds runs, the newest is {folder / runs[-1]}" if runs else ""
    raise ReportError(f"{folder} is not a results folder: {missing} missing{hint}.")


def _no_summary(folder: Path, run: Run) -> str:
    readable = [name for name in JOURNALS if (folder / name).is_file()]
    left = f"still readable there: {', '.join(readable)}" if readable else "it left no figures at all"
    if run.status == "running":
        why = "the run was killed, or is still going (run.json says it is running)"
        cure = f" Once its processes have ended, tokenswarm recover {folder} completes it."
    else:
        why, cure = f"the run ended ({run.status}) without writing it", ""
    return f"{folder / 'summary.json'} is missing because {why}; {left}.{cure}"


def _read(path: Path, kind: type[T]) -> T:
    try:
        data = read_file(path, _MOST_BYTES)
        head = msgspec.json.decode(data, type=_Head)
        _check_format(path, head)
        # Another's folder may hold what a terminal obeys, and one of an older version what a server repeated.
        return msgspec.convert(shown_values(msgspec.json.decode(data)), type=kind)
    except UnusableFile as error:
        raise ReportError(f"{path} {error}.") from error
    except msgspec.ValidationError as error:
        raise ReportError(f"{path} is not as a run writes it: {error}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ReportError(f"{path} is not whole JSON ({error}); it was cut short or edited.") from error


def _check_format(path: Path, head: _Head) -> None:
    if head.format is not None and 1 <= head.format <= FORMAT:
        return
    found = "names no format" if head.format is None else f"has format {head.format}"
    writer = f" (tokenswarm {head.tokenswarm_version})" if head.tokenswarm_version else ""
    raise ReportError(
        f"{path} {found}, but formats 1 to {FORMAT} are read here; use the version that wrote it{writer}."
    )
