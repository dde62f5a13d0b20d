"""A run as other tools would count it: the same requests, their definitions. Pure.

Each tool takes a level as a run of its own: all requests sent in it, its ramp included, and counts those that were ok.
The definitions are those read in the tools' sources (docs/metrics.md, "How others define the same names"); where the
journal cannot hold what a tool goes by, a note says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from tokenswarm.metrics.intervals import Series
from tokenswarm.reports import units
from tokenswarm.reports.level_names import level_name
from tokenswarm.reports.stats.connect_times import waited_for_connection
from tokenswarm.run_folder.csv_reader import Requests
from tokenswarm.run_folder.reader import ReportError, Results
from tokenswarm.run_folder.schema import LevelSummary

#: What of requests.csv the definitions need.
COLUMNS = (
    *("connect", "ttft", "e2e", "duration", "first_body", "first_event", "last_event"),
    *("output_tokens", "events", "scheduled_s"),
)


class Statistic(NamedTuple):
    """A figure under the tool's own name: seconds, or a second. NaN where undefined."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Tool:
    """Another client: its name, what of its figures differs from ours, and its figures of a level's requests."""

    name: str
    notes: tuple[str, ...]
    count: Callable[[Requests, LevelSummary], list[Statistic]]


def statistics_as(tool: str, requests: Requests, level: LevelSummary) -> list[Statistic]:
    """The level's figures as `tool` (a key of TOOLS) would count them; `requests` as load_requests gives them, with
    COLUMNS. Raises ReportError where none was ok, or the journal is too old for this tool."""
    of_level = requests.of(level, hold=False)
    ok = _with_waits(of_level.where(of_level.ok), level)
    if not len(ok):
        raise ReportError(f"no request of {level_name(level)} was ok: there is nothing to count.")
    if tool in ("vllm", "llm-bench") and np.isnan(ok.figures["first_event"]).all():
        name = TOOLS[tool].name
        raise ReportError(f"{name} counts from the first event, which requests.csv of format 1 does not have.")
    return TOOLS[tool].count(ok, level)


def _with_waits(ok: Requests, level: LevelSummary) -> Requests:
    """connect: what each request waited for its connection."""
    lag_s = ok.sent_s - ok.figures["scheduled_s"]
    connect_s = waited_for_connection(ok.figures["connect"], lag_s, open_loop=level.open_loop is not None)
    return replace(ok, figures={**ok.figures, "connect": connect_s})


def report_as(tool: str, requests: Requests, results: Results) -> str:
    """All levels, as text. Raises ReportError."""
    blocks = []
    for level in results.summary.levels:
        lines = [f"As {TOOLS[tool].name} would count it: {level_name(level)}, ramp included"]
        found = statistics_as(tool, requests, level)
        width = max(len(statistic.name) for statistic in found)
        lines += [f"  {statistic.name:<{width}}  {_value_text(statistic):>12}" for statistic in found]
        blocks.append("\n".join(lines))
    return "\n\n".join([*blocks, *(f"Note: {note}" for note in TOOLS[tool].notes)])


def _value_text(statistic: Statistic) -> str:
    factor = 1000 if statistic.unit == "ms" else 1
    text = units.two_decimals(statistic.value * factor)
    return text if text == units.UNDEFINED else f"{text} {statistic.unit}"


def _vllm(ok: Requests, _: LevelSummary) -> list[Statistic]:
    """benchmarks/serve.py: an event with `choices` is a token, the role alone included; latency ends with the last one,
    and connecting, where it was needed, is inside."""
    n, connect_s = ok.figures["output_tokens"], ok.figures["connect"]
    ttft_s = ok.figures["first_event"] + connect_s
    latency_s = ok.figures["last_event"] + connect_s
    several = n > 1
    tpot_s = (latency_s - ttft_s)[several] / (n[several] - 1)
    gaps = ok.figures["events"] - 1
    itl_s = (latency_s - ttft_s).sum() / gaps.sum() if gaps.sum() else np.nan
    over_s = _span_s(ok, latency_s - connect_s)
    return [
        *_rates(len(ok), n.sum(), over_s, "Request throughput", "Output token throughput"),
        *_spread(ttft_s, "{} TTFT"),
        *_spread(tpot_s, "{} TPOT"),
        Statistic("Mean ITL", float(itl_s), "ms"),
        *_spread(latency_s, "{} E2EL"),
    ]


def _aiperf(ok: Requests, _: LevelSummary) -> list[Statistic]:
    """Content or reasoning begins and ends a request; connecting, where it was needed, is inside."""
    n, connect_s = ok.figures["output_tokens"], ok.figures["connect"]
    ttft_s, latency_s = ok.figures["ttft"] + connect_s, ok.figures["e2e"] + connect_s
    several = n > 1
    itl_s = (latency_s - ttft_s)[several] / (n[several] - 1)
    over_s = _span_s(ok, ok.figures["e2e"])
    user_rates = 1 / itl_s[itl_s > 0]
    return [
        *_spread(ttft_s, "Time to First Token {}"),
        *_spread(latency_s, "Request Latency {}"),
        *_spread(itl_s, "Inter Token Latency {}"),
        Statistic("Output Token Throughput Per User mean", _mean(user_rates), "tok/s"),
        *_rates(len(ok), n.sum(), over_s, "Request Throughput", "Output Token Throughput"),
    ]


def _guidellm(ok: Requests, _: LevelSummary) -> list[Statistic]:
    """Its TPOT has TTFT inside; its ITL is weighted by each request's n − 1; a request lasts to its stream's end."""
    n, ttft_s = ok.figures["output_tokens"], ok.figures["ttft"]
    streaming_s = ok.figures["e2e"] - ttft_s
    weights = np.maximum(n - 1, 0)
    itl_s = streaming_s[n > 1].sum() / weights.sum() if weights.sum() else np.nan
    over_s = _span_s(ok, ok.figures["duration"])
    return [
        *_spread(ttft_s, "Time to First Token {}"),
        *_spread(ok.figures["e2e"] / n, "Time Per Output Token {}"),
        Statistic("Inter Token Latency mean", float(itl_s), "ms"),
        *_spread(ok.figures["duration"], "Request Latency {}"),
        *_rates(len(ok), n.sum(), over_s, "Requests Per Second", "Output Tokens Per Second"),
    ]


def _genai_bench(ok: Requests, level: LevelSummary) -> list[Statistic]:
    """TPOT reaches to the end of the stream, usage included; answers that took under 1 ms after their first token are
    left out of it."""
    n, connect_s = ok.figures["output_tokens"], ok.figures["connect"]
    ttft_s, e2e_s = ok.figures["ttft"] + connect_s, ok.figures["duration"] + connect_s
    counted = (n > 1) & (e2e_s - ttft_s >= 0.001)
    tpot_s = (e2e_s - ttft_s)[counted] / (n[counted] - 1)
    over_s = level.whole.seconds
    return [
        *_spread(ttft_s, "TTFT {}"),
        *_spread(tpot_s, "TPOT {}"),
        *_spread(e2e_s, "E2E Latency {}"),
        *_rates(len(ok), n.sum(), over_s, "Requests Per Second", "Output Throughput"),
    ]


def _llm_bench(ok: Requests, level: LevelSummary) -> list[Statistic]:
    """The first bytes of any kind are the first token; rates are over the level's time, ramp and failures included;
    requests are counted as they start."""
    whole = level.whole
    rate = np.nan if whole.token_rate is None else whole.token_rate
    starts = whole.requests / whole.seconds if whole.seconds else np.nan
    connect_s = ok.figures["connect"]
    return [
        Statistic("Mean time to first token", _mean(ok.figures["first_body"] + connect_s), "ms"),
        Statistic("Mean response latency", _mean(ok.figures["duration"] + connect_s), "ms"),
        Statistic("Response tokens/s", float(rate), "tok/s"),
        Statistic("Requests/s", float(starts), "req/s"),
    ]


TOOLS: dict[str, Tool] = {
    "vllm": Tool(
        "vllm bench serve",
        ("percentiles of its ITL are of single gaps from the role on, of which requests.csv keeps only their sum.",),
        _vllm,
    ),
    "aiperf": Tool(
        "AIPerf",
        ("its Time to Second Token is not text: requests.csv keeps no second arrival.",),
        _aiperf,
    ),
    "guidellm": Tool("GuideLLM", (), _guidellm),
    "genai-bench": Tool(
        "genai-bench",
        ("it opens a connection for each request, inside its TTFT; here only those that were opened are.",),
        _genai_bench,
    ),
    "llm-bench": Tool(
        "llm-bench (the comparison of June 2024)",
        (
            "it counted tokens anew, chunk by chunk; here they are the run's own count.",
            "its latency had failed requests in it; here they are left out.",
        ),
        _llm_bench,
    ),
}


def _spread(values_s: Series, name: str) -> list[Statistic]:
    """Mean, median and 99th percentile, as numpy interpolates them: these tools do."""
    defined = values_s[~np.isnan(values_s)]
    if not len(defined):
        return [Statistic(name.format(which), np.nan, "ms") for which in ("mean", "median", "P99")]
    median, p99 = np.percentile(defined, [50, 99])
    values = (("mean", _mean(defined)), ("median", float(median)), ("P99", float(p99)))
    return [Statistic(name.format(which), value, "ms") for which, value in values]


def _rates(requests: int, tokens: float, over_s: float, of_requests: str, of_tokens: str) -> list[Statistic]:
    if not over_s > 0:
        return [Statistic(of_requests, np.nan, "req/s"), Statistic(of_tokens, np.nan, "tok/s")]
    return [Statistic(of_requests, requests / over_s, "req/s"), Statistic(of_tokens, float(tokens) / over_s, "tok/s")]


def _span_s(ok: Requests, until_s: Series) -> float:
    """From the first connecting or sending to the last end; until_s: each request's end, since it was sent."""
    return float(np.nanmax(ok.sent_s + until_s) - (ok.sent_s - ok.figures["connect"]).min())


def _mean(values: Series) -> float:
    return float(np.nanmean(values)) if len(values) else float("nan")
