"""A level as the result file of `vllm bench serve --save-result`: the keys of vLLM (vllm/benchmarks/serve.py, November
2026), by its definitions, where requests.csv has what they need.

vLLM takes a level as a run of its own: its ramp is included.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tokenswarm.metrics.intervals import Series
from tokenswarm.reports.other_formats.level_requests import LevelRequests
from tokenswarm.run_folder.distribution import Distribution
from tokenswarm.run_folder.reader import ReportError, Results
from tokenswarm.run_folder.schema import LevelSummary

#: vLLM's name for a chat endpoint of OpenAI's form.
_BACKEND = "openai-chat"


def vllm_result(results: Results, level: LevelSummary, requests: LevelRequests) -> dict[str, Any]:
    """One document. Keys whose figure requests.csv has no means for are null: the spread and the median of single gaps
    of a run that measured none, and the most tokens in one second. Raises ReportError where the folder is too old."""
    run, ok = results.run, requests.ok
    timed = ok & ~np.isnan(requests.numbers["last_event_ms"])
    if not timed.any():
        raise ReportError("vLLM counts from the first event, which requests.csv of format 1 does not have.")
    values = {name: entries[timed] for name, entries in requests.numbers.items()}
    connect_s = values["connect_ms"] / 1e3
    ttft_s = values["first_event_ms"] / 1e3 + connect_s
    latency_s = values["last_event_ms"] / 1e3 + connect_s
    began_s = values["sent_s"] - connect_s
    tokens = values["output_tokens"]
    duration_s = float((began_s + latency_s).max() - began_s.min())
    total_input, total_output = int(np.nansum(values["prompt_tokens"])), int(np.nansum(tokens))
    several = tokens > 1
    gaps = values["events"] - 1
    goodput = level.whole.goodput
    return {
        "date": run.started_at.strftime("%Y%m%d-%H%M%S"),
        "endpoint_type": _BACKEND,
        "backend": _BACKEND,
        "label": results.folder.name,
        "model_id": run.model,
        "tokenizer_id": run.options.get("tokenizer") or run.model,
        "num_prompts": len(requests),
        "request_rate": level.open_loop.requested_rate if level.open_loop else "inf",
        "burstiness": _burstiness(results, level),
        "max_concurrency": None if level.open_loop else level.users,
        "duration": duration_s,
        "completed": int(ok.sum()),
        "failed": int((~ok).sum()),
        "total_input_tokens": total_input,
        "total_output_tokens": total_output,
        "request_throughput": int(ok.sum()) / duration_s,
        "request_goodput": goodput and goodput.requests_per_s,
        "output_throughput": total_output / duration_s,
        "total_token_throughput": (total_input + total_output) / duration_s,
        "latencies": latency_s.tolist(),
        "queue_times": (values["sent_s"] - values["scheduled_s"]).tolist(),
        "max_output_tokens_per_s": None,
        "max_concurrent_requests": _most_in_one_second(began_s, latency_s),
        "rtfx": 0.0,
        **_spread("ttft", ttft_s),
        **_spread("tpot", (latency_s - ttft_s)[several] / (tokens[several] - 1)),
        **_gaps(float((latency_s - ttft_s).sum() / gaps.sum()) if gaps.sum() else None, level.whole.gap_s),
        **_spread("e2el", latency_s),
    }


def _burstiness(results: Results, level: LevelSummary) -> float | None:
    """The shape of gamma arrivals, 1 of Poisson ones and of a closed loop, as vLLM has it; null of all others."""
    planned = next((planned for planned in results.run.plan if planned.index == level.index), None)
    if planned is None or planned.arrivals is None or planned.arrivals.process == "poisson":
        return 1.0
    process, _, shape = planned.arrivals.process.partition(":")
    return float(shape) if process == "gamma" else None


def _most_in_one_second(began_s: Series, latency_s: Series) -> int:
    """As vLLM counts it: requests that were in flight at any time of the same second since the first one."""
    first = np.floor(began_s - began_s.min()).astype(np.int64)
    last = np.floor(began_s - began_s.min() + latency_s).astype(np.int64)
    steps = np.zeros(int(last.max()) + 2, dtype=np.int64)
    np.add.at(steps, first, 1)
    np.add.at(steps, last + 1, -1)
    return int(np.cumsum(steps).max())


def _spread(name: str, values_s: Series) -> dict[str, float | None]:
    found = values_s[~np.isnan(values_s)]
    if not len(found):
        return dict.fromkeys(_keys(name))
    figures = (found.mean(), np.median(found), found.std(), np.percentile(found, 99))
    return dict(zip(_keys(name), (float(figure) * 1e3 for figure in figures)))


def _gaps(mean_s: float | None, gaps_s: Distribution | None) -> dict[str, float | None]:
    """The mean by vLLM's definition; the percentiles are of the gaps between outputs."""
    quantiles = (gaps_s.p50, gaps_s.p99) if gaps_s else (None, None)
    median_s, p99_s = (None if quantile is None else quantile.value for quantile in quantiles)
    figures = (mean_s, median_s, None, p99_s)
    return dict(zip(_keys("itl"), (None if figure is None else figure * 1e3 for figure in figures)))


def _keys(name: str) -> tuple[str, ...]:
    return tuple(f"{which}_{name}_ms" for which in ("mean", "median", "std", "p99"))
