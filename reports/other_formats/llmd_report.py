"""A level as a Benchmark Report of llm-d, version 0.2 (the package `llmd-benchmark-report` checks it).

The figures are those of the level's hold by our own definitions (docs/metrics.md), times in seconds.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from datetime import timedelta
from typing import Any

import numpy as np

from tokenswarm.metrics.intervals import Series
from tokenswarm.metrics.level import Phase
from tokenswarm.reports.level_names import level_name
from tokenswarm.reports.other_formats.level_requests import LevelRequests
from tokenswarm.run_folder.distribution import Distribution
from tokenswarm.run_folder.reader import Results
from tokenswarm.run_folder.schema import Figures, LevelSummary

VERSION = "0.2"
#: Of the identifiers that are made from a run's folder name and start.
_NAMESPACE = uuid.UUID("6f0c1d3e-7a0b-5f43-9d8e-2f6f2f1b7a11")
_TOOL = "tokenswarm"


def llmd_report(results: Results, level: LevelSummary, requests: LevelRequests) -> dict[str, Any]:
    """One document. The same folder gives the same identifiers: one of the report, and one of all levels of the run."""
    run, hold = results.run, level.hold
    run_name = f"{results.folder.name} {run.started_at.isoformat()}"
    in_hold = np.array([phase == Phase.HOLD.value for phase in requests.texts["phase"]], dtype=np.bool_)
    values = {name: entries[in_hold & requests.ok] for name, entries in requests.numbers.items()}
    document: dict[str, Any] = {
        "version": VERSION,
        "run": {
            "uid": str(uuid.uuid5(_NAMESPACE, f"{run_name} {level.index}")),
            "eid": str(uuid.uuid5(_NAMESPACE, run_name)),
            "time": {
                "start": run.started_at.isoformat(),
                "end": run.ended_at.isoformat() if run.ended_at else None,
                "duration": _duration(run.ended_at - run.started_at) if run.ended_at else None,
            },
            "description": f"{run.model or run.engine} [{results.folder.name}]: {level_name(level)}",
        },
        "scenario": {"stack": [_server(results)], "load": _load(results, level, values)},
        "results": {
            "request_performance": {
                "aggregate": {
                    "requests": _requests(hold, values),
                    "latency": _latency(hold),
                    "throughput": _throughput(hold, values),
                }
            }
        },
    }
    if level.sessions is not None:
        document["results"]["session_performance"] = {
            "sessions": {
                "total": level.sessions.started,
                "succeeded": level.sessions.completed,
                "failed": level.sessions.failed,
                "session_duration": _statistics(level.sessions.duration_s, "s"),
            }
        }
    if observed := _observability(hold):
        document["results"]["observability"] = {"components": [{"component_label": "server", "aggregate": observed}]}
    found: dict[str, Any] = _without_nulls(document)
    return found


def _server(results: Results) -> dict[str, Any]:
    run = results.run
    return {
        "metadata": {"label": "server", "cfg_id": _digest([run.host, run.engine, run.engine_version, run.model])},
        "standardized": {
            "kind": "generic",
            "tool": run.engine,
            "tool_version": run.engine_version or "unknown",
            "model": run.model,
        },
        "native": {},
    }


def _load(results: Results, level: LevelSummary, values: dict[str, Series]) -> dict[str, Any]:
    run = results.run
    lengths = values["prompt_tokens"][~np.isnan(values["prompt_tokens"])]
    return {
        "metadata": {"cfg_id": _digest(run.options), "description": level_name(level)},
        "standardized": {
            "tool": _TOOL,
            "tool_version": run.tokenswarm_version or "unknown",
            "parallelism": max(1, run.workers or 1),
            "source": "sampled",
            "stage": level.index,
            "input_seq_len": {
                "distribution": "other",
                "value": float(lengths.mean()) if len(lengths) else 0.0,
                "min": int(lengths.min()) if len(lengths) else None,
                "max": int(lengths.max()) if len(lengths) else None,
            },
            "multi_turn": {"enabled": True} if level.sessions is not None else None,
            "rate_qps": level.open_loop.requested_rate if level.open_loop else None,
            "concurrency": None if level.open_loop else level.users or None,
        },
        "native": {"args": run.options},
    }


def _requests(hold: Figures, values: dict[str, Series]) -> dict[str, Any]:
    return {
        "total": hold.requests,
        "failures": hold.failures,
        "incomplete": hold.requests - hold.failures - hold.outcomes.get("ok", 0),
        "input_length": _of_values(values["prompt_tokens"], "count"),
        "output_length": _of_values(values["output_tokens"], "count"),
    }


def _latency(hold: Figures) -> dict[str, Any]:
    return {
        "time_to_first_token": _statistics(hold.ttft_s, "s"),
        "time_per_output_token": _statistics(hold.tpot_s, "s/token"),
        "inter_token_latency": _statistics(hold.gap_s, "s/token"),
        "request_latency": _statistics(hold.e2e_s, "s"),
    }


def _throughput(hold: Figures, values: dict[str, Series]) -> dict[str, Any]:
    """Tokens/s of input: of the ok requests that were sent in the hold, over it."""
    input_rate = float(np.nansum(values["prompt_tokens"])) / hold.seconds if hold.seconds else None
    both = None if hold.token_rate is None or input_rate is None else hold.token_rate + input_rate
    return {
        "input_token_rate": _rate(input_rate, "tokens/s"),
        "output_token_rate": _rate(hold.token_rate, "tokens/s"),
        "total_token_rate": _rate(both, "tokens/s"),
        "request_rate": _rate(hold.request_rate, "queries/s"),
    }


def _observability(hold: Figures) -> dict[str, Any]:
    """What the server reported, as percentages."""
    if hold.server is None:
        return {}
    named = (
        ("kv_cache_usage", hold.server.kv_cache_utilization_mean),
        ("cache_hit_rate", hold.server.prefix_cache_hit_ratio),
        ("gpu_utilization", hold.server.gpu_utilization_mean),
    )
    return {name: _rate(share * 100, "percent") for name, share in named if share is not None}


def _rate(value: float | None, unit: str) -> dict[str, Any] | None:
    return None if value is None else {"units": unit, "mean": value}


def _statistics(values: Distribution | None, unit: str) -> dict[str, Any] | None:
    if values is None or values.mean is None:
        return None
    quantiles = {"p50": values.p50, "p90": values.p90, "p95": values.p95, "p99": values.p99}
    return {
        "units": unit,
        "mean": values.mean,
        "min": values.min,
        "max": values.max,
        **{name: quantile and quantile.value for name, quantile in quantiles.items()},
    }


def _of_values(values: Series, unit: str) -> dict[str, Any] | None:
    found = values[~np.isnan(values)]
    if not len(found):
        return None
    p50, p90, p95, p99 = (float(value) for value in np.percentile(found, (50, 90, 95, 99)))
    ends = {"min": float(found.min()), "max": float(found.max())}
    return {"units": unit, "mean": float(found.mean()), **ends, "p50": p50, "p90": p90, "p95": p95, "p99": p99}


def _duration(length: timedelta) -> str:
    """ISO 8601."""
    return f"PT{length.total_seconds():.3f}S"


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return value
