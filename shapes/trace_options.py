"""The options of a replay: the requests of a trace are sent when they were recorded."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping

from tokenswarm.command_line import OptionAdder
from tokenswarm.metrics.level import Arrivals
from tokenswarm.metrics.trace_replay import TraceReplay, TraceSpread
from tokenswarm.prompts.traces.replay_notation import replay_of
from tokenswarm.prompts.traces.replay_plan import ReplayPlan, replay_plan
from tokenswarm.prompts.traces.trace_records import TRACE, TraceFormat

_NAMES = (
    *("trace_format", "trace_speed", "trace_rate", "trace_window", "trace_sample", "trace_spread"),
    "trace_skip_bad",
)
#: What a trace says itself.
_REPLACED = (
    *("arrivals", "burstiness", "level_time", "prompts", "prompts_column", "prompt_tokens", "input_tokens"),
    *("turns", "answers", "prefix", "image"),
)
#: What most traces say too; without it, these are of all requests.
_OUTPUT = ("output_tokens", "max_tokens")


def add_options(option: OptionAdder) -> None:
    """Each has a field in the page's form."""
    option(
        TRACE,
        text="open loop: replay the requests of a trace, with their recorded times, lengths and shared prefixes: a "
        "file of Mooncake, Bailian (Qwen), Azure, BurstGPT or ServeGen, also with gzip (docs/traces.md)",
    )
    option.choice(
        "--trace-format", TraceFormat, TraceFormat.AUTO, "format of --trace; auto: found out from its first line"
    )
    option("--trace-speed", default="1", text="replay --trace so many times as fast as it was recorded, like 2 or 0.5")
    option(
        "--trace-rate",
        text="replay --trace at such a speed that its mean rate is so many requests a second, like 8; empty: as "
        "--trace-speed says",
    )
    option(
        "--trace-window",
        metavar="FROM:UNTIL",
        text="part of the recorded time of --trace to replay, since its first request, like 10m:20m, 10m: or :90s; "
        "empty: all of it",
    )
    option(
        "--trace-sample",
        metavar="SHARE",
        text="share of the sessions of --trace to replay, whole ones, in percent, with the sign "
        "(docs/traces.md#what-is-replayed-and-when); empty: all of them",
    )
    option.choice(
        "--trace-spread",
        TraceSpread,
        TraceSpread.OFF,
        "requests of --trace with the same timestamp: off: sent at once, as recorded; uniform: at even distances until "
        "the next timestamp; poisson: at random moments until then",
    )
    option.switch("--trace-skip-bad", text="leave out rows of --trace that are wrong, and count them")


def conflicts(options: Namespace, sources: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each option that has no effect. sources: where each given option comes from, by its name."""
    if not options.trace:
        for name in _NAMES:
            if name in sources:
                yield f"{sources[name]} has no effect without {TRACE}: give {TRACE} too, or leave it out."
        return
    trace = sources.get("trace", TRACE)
    for name in (*_REPLACED, *(_OUTPUT if _has_output(options) else ())):
        if name in sources:
            yield f"{sources[name]} has no effect beside {trace}, which has its own: leave one of them out."


def _has_output(options: Namespace) -> bool:
    """Whether the trace says how long all answers were; also where it cannot be read, which another error says."""
    try:
        replay = replay_of(options)
        return replay is None or bool(replay_plan(replay).output_tokens.all())
    except ValueError:
        return True


def replay_load(options: Namespace) -> tuple[str, float, Arrivals]:
    """The name of a replay's level, its time in seconds, and its arrivals. Raises TraceError, OptionErrors."""
    replay = replay_of(options)
    assert replay is not None
    plan = replay_plan(replay)
    return "trace", plan.duration_s, _arrivals(replay, plan, str(options.seed), options.max_in_flight or None)


def _arrivals(replay: TraceReplay, plan: ReplayPlan, seed: str, most: int | None) -> Arrivals:
    rate = len(plan) / plan.duration_s
    return Arrivals(replay.path, (), rate, seed, most, plan.trace.sha256, trace=replay)
