"""The files of a results folder: their names, columns, keys and units, declared once for writers and readers.

run.json is a `RunDocument`, summary.json a `Summary`; the columns of the CSV files are constants below. Times are in
seconds where a name ends in `_s` and in milliseconds where it ends in `_ms`; rates are per second; shares are from 0 to
1. Keys that a reader does not know are ignored, so a newer folder of the same format stays readable; keys that came
after the first format have a default, so an older folder does too. older_formats.py maps what older formats call
otherwise.

Formats:
1  the first.
2  summary.json: objective_share and capacity, meets_objectives of each level, and the interval of goodput's fraction.
   run.json: the system prompt's fingerprint among the prompts' facts. requests.csv: first_body_ms, first_event_ms,
   last_event_ms and events, for the figures as others count them; ttft_uncertainty_ms, and reads. summary.json:
   ttft_uncertainty_s and requests_with_uncertain_ttft. Later in the same format: requests.csv: prompt_id, prompt_hash,
   cached_tokens; summary.json: `prompts` of each scope and of the run; run.json: reuse, nonce and nonce_source among
   the prompts' facts; retries in requests.csv and summary.json.
3  Names only. run.json and summary.json: a level's `stage` is its `index`. summary.json: `books` is `accounting`, its
   `fired` is `ended` and its `balanced` is `complete`. CSV files: `stage` is level_index, `part` is scope, and
   server.csv's `concept` is metric. Later in the same format: requests.csv: input_tokens_requested and
   output_tokens_requested; summary.json: input_lengths and output_lengths of each scope; requests.csv: model and host;
   summary.json: models and hosts of each scope; run.json: mix; requests.csv: session, turn, session_turns and
   prefix_group; summary.json: sessions and cache_flushed of each level; the verdict `failed`: before, the validity of a
   failed run was suspect; requests.csv: abandons, abandoned_ms and abandon_late_ms; summary.json: requests_not_judged
   of each scope and abandonment of each level; run.json: abandonment; requests.csv: agent, depth, join_ms and
   name; summary.json: names of each scope; run.json: name and tags, and system_prompt_tokens and
   system_prompt_counting among the prompts' facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

import msgspec

from tokenswarm.metrics.abandonment import Abandonment
from tokenswarm.metrics.client_health import SelfCheck
from tokenswarm.metrics.hardware import Hardware
from tokenswarm.metrics.level import Level, SystemPrompt, load_name
from tokenswarm.metrics.mix import RunMix
from tokenswarm.run_folder.abandon_figures import AbandonFigures
from tokenswarm.run_folder.capacity_figures import CapacityFigures
from tokenswarm.run_folder.concurrency_summary import ConcurrencySummary
from tokenswarm.run_folder.distribution import Distribution, RateDistribution
from tokenswarm.run_folder.hardware_figures import HardwareFigures
from tokenswarm.run_folder.length_figures import LengthFigures
from tokenswarm.run_folder.load_audit import LoadAudit
from tokenswarm.run_folder.mix_figures import MemberFigures
from tokenswarm.run_folder.open_loop_figures import OpenLoopFigures
from tokenswarm.run_folder.prompt_figures import PromptFigures
from tokenswarm.run_folder.session_figures import SessionFigures
from tokenswarm.run_folder.think_time_figures import ThinkTimeFigures
from tokenswarm.run_folder.warm_up_summary import WarmUpSummary
from tokenswarm.run_folder.worker_events import WorkerEvent

#: Version of the folder; run.json and summary.json name it.
FORMAT = 3
#: Length of a window of windows.csv, in seconds.
WINDOW_S = 5.0

REQUEST_COLUMNS = (
    *("id", "worker", "user", "level_index", "system_prompt", "level", "phase", "outcome", "status"),
    *("scheduled_s", "sent_s", "connect_ms", "headers_ms", "ttft_ms", "ttfvt_ms", "tpot_ms", "e2e_ms", "duration_ms"),
    *("output_tokens", "output_tokens_source", "output_events", "output_arrivals"),
    *("prompt_tokens", "prompt_tokens_source", "gaps_measured", "gap_max_ms"),
    *("client_delay_max_ms", "stamps"),
    *("finish_reason", "error"),
    *("first_body_ms", "first_event_ms", "last_event_ms", "events"),
    *("ttft_uncertainty_ms", "reads"),
    *("prompt_id", "prompt_hash", "cached_tokens", "retries"),
    *("output_tokens_rejected", "first_event_tokens"),
    *("unstreamed_tokens", "deviations"),
    *("input_tokens_requested", "output_tokens_requested"),
    *("custom_id", "server_request_id", "trace_id"),
    *("think_ms", "model", "host"),
    *("session", "turn", "session_turns", "prefix_group"),
    *("abandons", "abandoned_ms", "abandon_late_ms"),
    *("agent", "depth", "join_ms"),
    "name",
)
WINDOW_COLUMNS = (
    *("start_s", "end_s", "level_index", "system_prompt", "level", "phase", "users", "in_flight"),
    *("requests_sent", "requests_ended", "failures", "output_tokens", "token_rate", "ttft_p50_ms", "ttft_p95_ms"),
    *("users_actual", "requests_offered", "requests_completed", "offered_rate", "sent_rate", "completed_rate"),
)
SERVER_COLUMNS = ("time_s", "level_index", "metric", "value")
#: The metric of histograms.csv that has gaps in the buckets that they were recorded in.
RECORDED_GAPS = "gap_s_recorded"
HISTOGRAM_COLUMNS = ("metric", "system_prompt", "level", "scope", "le", "count")
#: A file of the folder that keeps space on the disk for the end of the run, and goes with it.
RESERVE = ".reserve"


class Status(StrEnum):
    """How a run ended. RUNNING stands in a folder whose run was killed; FAILED is a run that recorded nothing or whose
    requests are not all accounted for; RECOVERED was rebuilt by `tokenswarm recover` from what a killed run left."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    RECOVERED = "recovered"


class ServerFigures(msgspec.Struct, frozen=True):
    """Server-side metrics of one scope; None where the server does not report one. Means are of the samples; the ratio,
    the mean TTFT (seconds), the power (watts, of all GPUs together) and the rate (tokens/s) are from what the server's
    counters grew by."""

    requests_running_mean: float | None = None
    requests_waiting_mean: float | None = None
    kv_cache_utilization_mean: float | None = None
    prefix_cache_hit_ratio: float | None = None
    gpu_utilization_mean: float | None = None
    gpu_power_w_mean: float | None = None
    ttft_s_mean: float | None = None
    output_token_rate: float | None = None


class Goodput(msgspec.Struct, frozen=True):
    """Requests within every objective, a second; the same of their tokens; their share of all requests sent, failures
    included, with its 95 % interval. tokens_per_s: None where objectives were set after the run, which kept no token's
    time. The share is of the requests that their users were not to leave, None where there are none."""

    requests_per_s: float
    tokens_per_s: float | None
    fraction: float | None
    fraction_low: float | None = None
    fraction_high: float | None = None


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One scope (hold, or whole) of a level. Times in seconds, rates per second, None where undefined.

    requests: sent in this scope; outcomes: what became of them; failures: every outcome that is none of ok, cut,
    abandoned and refused_by_limit. token_rate: of all users together, request_token_rate of each request alone, in
    tokens/s; request_rate: of ok requests sent in it. requests_with_gaps: ok requests whose gaps were measured.
    requests_with_uncertain_ttft: those whose first output may have come earlier than reported, by ttft_uncertainty_s at
    most (0 for the others). server: None where the server reports no metrics. retries: how often requests were sent
    again, whatever became of them. requests_with_rejected_usage: ok requests whose server reported more output tokens
    than can be. requests_without_tpot: ok requests of several tokens, most of which came in one arrival.
    outputs_per_arrival: mean number of outputs that arrived at once, of requests whose gaps were measured;
    tokens_per_event: mean tokens of an event with output, of ok requests. deviations: ok requests that differed from
    their protocol, by the way (see metrics/deviations.py). input_lengths, output_lengths: None where the run requests
    no lengths, or the server does not say what they are. lag_s: sent − scheduled, of all requests; ttft_scheduled_s,
    e2e_scheduled_s: from scheduled instead of from sent; these three are None in a closed loop. models, hosts: the
    requests to each, which sum to all; empty where the run has one. names: the requests of each name, where users of
    a locustfile's own give them names. requests_not_judged: those that users were to leave, which latencies and the
    share of good requests leave out."""

    seconds: float
    requests: int
    outcomes: dict[str, int]
    failures: int
    output_tokens: float = 0.0
    token_rate: float | None
    good_token_rate: float | None = None
    request_rate: float | None = None
    goodput: Goodput | None
    output_tokens_sources: dict[str, int]
    stamps: dict[str, int] = {}
    requests_with_gaps: int = 0
    requests_with_uncertain_ttft: int = 0
    ttft_s: Distribution
    ttft_uncertainty_s: Distribution | None = None
    ttfvt_s: Distribution | None = None
    tpot_s: Distribution
    gap_s: Distribution | None = None
    e2e_s: Distribution | None = None
    lag_s: Distribution | None = None
    ttft_scheduled_s: Distribution | None = None
    e2e_scheduled_s: Distribution | None = None
    request_token_rate: RateDistribution
    connect_s: Distribution | None = None
    client_delay_s: Distribution | None = None
    loop_lag_s: Distribution | None = None
    server: ServerFigures | None = None
    prompts: PromptFigures = PromptFigures()
    retries: int = 0
    requests_with_rejected_usage: int = 0
    requests_without_tpot: int = 0
    outputs_per_arrival: float | None = None
    tokens_per_event: float | None = None
    models: tuple[MemberFigures, ...] = ()
    hosts: tuple[MemberFigures, ...] = ()
    names: tuple[MemberFigures, ...] = ()
    deviations: dict[str, int] = {}
    input_lengths: LengthFigures | None = None
    output_lengths: LengthFigures | None = None
    requests_not_judged: int = 0

    @property
    def outside_server_s(self) -> float | None:
        """Mean TTFT as the client saw it − as the server counted it: what lies between the two. None where it would be
        negative: the two means are then of too unlike requests to be subtracted."""
        if self.server is None or self.server.ttft_s_mean is None or self.ttft_s.mean is None:
            return None
        between_s = self.ttft_s.mean - self.server.ttft_s_mean
        return between_s if between_s >= 0 else None


class LevelSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One level under one system-prompt mode. index: its place in the plan, from 0. meets_objectives: of its hold, a
    level cut short or unstable meets none; None without objectives. concurrency: requested against actual users in the
    hold, None where it has no whole second. open_loop: None in a closed loop, in which alone there are users.
    think_time: None where users have none. sessions: None where requests belong to none. cache_flushed: whether the
    server emptied its prefix cache before it, None where that was not required. abandonment: None where users wait for
    the end of each response. hardware: None where nothing is known of it."""

    index: int
    system_prompt: SystemPrompt
    level: str
    users: int
    complete: bool
    meets_objectives: bool | None = None
    hold: Figures
    whole: Figures
    concurrency: ConcurrencySummary | None = None
    open_loop: OpenLoopFigures | None = None
    load_audit: LoadAudit | None = None
    think_time: ThinkTimeFigures | None = None
    sessions: SessionFigures | None = None
    cache_flushed: bool | None = None
    hardware: HardwareFigures | None = None
    abandonment: AbandonFigures | None = None

    @property
    def is_unstable(self) -> bool:
        """Whether more requests arrived than were answered, so that latencies describe the length of the level."""
        return self.open_loop is not None and bool(self.open_loop.unstable)

    @property
    def load(self) -> float:
        """What levels are ordered by: users, or requests/s."""
        return self.open_loop.requested_rate if self.open_loop else self.users

    @property
    def name(self) -> str:
        """The level as a person calls it: its number of users or its rate, and its own name where that says more."""
        return (
            self.level if load_name(self.level) == str(self.users) or not self.users else f"{self.level} ({self.users})"
        )


class Capacity(msgspec.Struct, frozen=True):
    """The largest level of a system-prompt mode that meets the objectives as all the smaller ones do; None where not
    even the smallest does."""

    system_prompt: SystemPrompt
    level: str | None
    users: int | None


class IssueKind(StrEnum):
    """Why the results of a run may be unreliable."""

    RUN_FAILED = "run_failed"
    NOTHING_MEASURED = "nothing_measured"
    FEWER_USERS = "fewer_users"
    CLIENT_LIMIT = "client_limit"
    SERVER_UNREACHABLE = "server_unreachable"
    LATE_LOOP = "late_loop"
    SILENT_WINDOWS = "silent_windows"
    NO_REQUEST_IN_HOLD = "no_request_in_hold"
    CANCELLED_IN_DRAIN = "cancelled_in_drain"
    CLIENT_DELAY = "client_delay"
    UNKNOWN_CLIENT_DELAY = "unknown_client_delay"
    UNCERTAIN_TTFT = "uncertain_ttft"
    OUTPUT_BURSTS = "output_bursts"
    MOST_TOKENS_AT_ONCE = "most_tokens_at_once"
    IMPOSSIBLE_TOKEN_COUNTS = "impossible_token_counts"  # noqa: S105 - no secret
    SELF_CHECK_ERROR = "self_check_error"
    INPUT_LENGTHS = "input_lengths"
    OUTPUT_LENGTHS = "output_lengths"
    MIXED_TOKEN_SOURCES = "mixed_token_sources"  # noqa: S105
    OTHER_LOAD = "other_load"
    SEND_LAG = "send_lag"
    NOT_SENT = "not_sent"
    ARRIVAL_RATE = "arrival_rate"
    ARRIVAL_GAPS = "arrival_gaps"
    THINK_TIME = "think_time"
    SESSION_ORDER = "session_order"
    MODEL_SHARES = "model_shares"
    HOST_SHARES = "host_shares"
    WORKER_GAP = "worker_gap"
    CACHE_NOT_FLUSHED = "cache_not_flushed"
    PREFIX_HITS = "prefix_hits"
    ABANDONMENT = "abandonment"
    TASK_ERRORS = "task_errors"
    USERS_NOT_CREATED = "users_not_created"
    USERS_NOT_STARTED = "users_not_started"
    ON_STOP_ERRORS = "on_stop_errors"
    LISTENER_ERRORS = "listener_errors"


class ValidityIssue(msgspec.Struct, frozen=True, kw_only=True):
    """One reason why results may be unreliable. kind: an IssueKind, or one of a newer version; message: a sentence
    without its level and worker; level: an index of the plan, worker: its number, None where it is of no one; values:
    the numbers that the message states, by name (times in seconds, shares from 0 to 1)."""

    kind: str
    message: str
    level: int | None = None
    worker: int | None = None
    values: dict[str, float] = {}


class Validity(msgspec.Struct, frozen=True):
    """`valid`, or `suspect` or `failed` with the reasons: whole sentences, and the same as issues (none in older
    folders). A run whose status is failed has failed, whatever else is to be said of it; a worker cannot."""

    verdict: Literal["valid", "suspect", "failed"]
    reasons: tuple[str, ...] = ()
    issues: tuple[ValidityIssue, ...] = ()


class RequestAccounting(msgspec.Struct, frozen=True):
    """Numbers of requests. ended: on the workers; recorded: in the histograms; rows: of requests.csv; unaccounted: in
    flight by the last report of a worker that was lost. complete: the first three are equal and the last is 0."""

    ended: int
    recorded: int
    rows: int
    complete: bool
    unaccounted: int = 0


class WorkerSummary(msgspec.Struct, frozen=True):
    """One worker over the run. requests: that ended on it; utilizations: of one core, 0 to 1, over the run and in the
    hold that took most of it (None where no hold lasted three seconds)."""

    worker: int
    requests: int | None = None
    cpu_utilization: float | None = None
    cpu_utilization_hold_max: float | None = None
    loop_lag_p99_s: float | None = None
    client_delay_p99_s: float | None = None
    self_check: SelfCheck | None = None
    validity: Validity | None = None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """summary.json. hints: what to do for a better run, by worker that needs it. objectives: in seconds, by figure;
    objective_share: None in folders of before it was stated. hardware: the server's GPUs as stated, None where they
    were not. capacity_search: None in a run that does not search."""

    format: int = FORMAT
    status: Status
    engine: str
    model: str | None
    host: str | None
    validity: Validity
    accounting: RequestAccounting
    objectives: dict[str, float]
    objective_share: float | None = None
    capacity: tuple[Capacity, ...] = ()
    levels: tuple[LevelSummary, ...]
    workers: tuple[WorkerSummary, ...] = ()
    hints: tuple[str, ...] = ()
    events: tuple[WorkerEvent, ...] = ()
    prompts: PromptFigures = PromptFigures()
    warm_ups: tuple[WarmUpSummary, ...] = ()
    hardware: Hardware | None = None
    capacity_search: CapacityFigures | None = None


class RunFacts(msgspec.Struct, frozen=True):
    """What is known when a run begins. `options` and `prompts` are recorded as they are; neither holds a secret.

    engine_evidence: why the server is taken for `engine`. chat_template: what prompts were written with, None where the
    server applies its own. cold_start_s: seconds that the run waited for the server to be ready, 0 where it was.
    embedded_simulator: whether the server was started for this run alone, as no host was given. requests: endpoint,
    path, fields merged into each body with their SHA-256, names of further headers, what authorised them, and what of
    the requests was adapted to the server. changed_options: names of those options whose value is not their default;
    None where that was not recorded. mix: the models and hosts of the requests; none in folders of older versions.
    abandonment: None where users wait for the end of each response. name, tags: what a person calls the run; name "":
    nothing. own_code: of a locustfile with user classes or a shape of its own, its path (`locustfile`), their names
    (`users`, `shape`), and a SHA-256 of the file; empty without.
    """

    host: str
    engine: str
    model: str
    shape: str
    plan: Sequence[Level]
    options: Mapping[str, Any]
    prompts: Mapping[str, Any]
    engine_version: str | None = None
    gateway: str | None = None
    engine_evidence: Sequence[str] = ()
    chat_template: str | None = None
    cold_start_s: float = 0.0
    embedded_simulator: bool = False
    requests: Mapping[str, Any] = msgspec.field(default_factory=dict)
    changed_options: Sequence[str] | None = None
    mix: RunMix = RunMix()
    abandonment: Abandonment | None = None
    name: str = ""
    tags: Mapping[str, str] = msgspec.field(default_factory=dict)
    own_code: Mapping[str, Any] = msgspec.field(default_factory=dict)


class WorkerSelfCheck(SelfCheck, frozen=True, kw_only=True):
    """What the client calibration of one worker found."""

    worker: int


class RunDocument(msgspec.Struct, frozen=True, kw_only=True):
    """run.json: what defined a run, and how it ended. See RunFacts for the keys that are known when it begins.

    validity: None while the run goes on. server_metrics: where the server's own metrics came from. spool_folder: where
    a killed run's requests are, for `tokenswarm recover`. stop_reason: why the run was stopped before its end.
    """

    format: int = FORMAT
    tokenswarm_version: str = ""
    started_at: datetime
    ended_at: datetime | None = None
    status: Status
    host: str | None = None
    engine: str = ""
    model: str | None = None
    shape: str = ""
    plan: tuple[Level, ...] = ()
    options: dict[str, Any] = {}
    prompts: dict[str, Any] = {}
    engine_version: str | None = None
    gateway: str | None = None
    engine_evidence: tuple[str, ...] = ()
    chat_template: str | None = None
    cold_start_s: float | None = None
    embedded_simulator: bool = False
    workers: int | None = None
    self_checks: tuple[WorkerSelfCheck, ...] = ()
    validity: Validity | None = None
    python: str = ""
    platform: str = ""
    server_metrics: dict[str, Any] = {}
    run_id: int | None = None
    spool_folder: str | None = None
    stop_reason: str | None = None
    requests: dict[str, Any] = {}
    changed_options: tuple[str, ...] | None = None
    mix: RunMix = RunMix()
    abandonment: Abandonment | None = None
    name: str = ""
    tags: dict[str, str] = {}
    own_code: dict[str, Any] = {}
