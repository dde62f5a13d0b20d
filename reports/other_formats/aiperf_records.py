"""A level's requests as AIPerf's profile_export.jsonl: a record of each, as AIPerf 0.13 writes them.

AIPerf counts connecting, where it was needed, into the latencies; its phases are `warmup` and `profiling`, and the ramp
of a level belongs to the latter.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from math import isnan
from typing import Any

from tokenswarm.metrics.timeline import Outcome
from tokenswarm.reports.other_formats.level_requests import LevelRequests
from tokenswarm.run_folder.reader import Results
from tokenswarm.run_folder.schema import LevelSummary

_NS_PER_MS = 1_000_000


def aiperf_records(results: Results, _: LevelSummary, requests: LevelRequests) -> Iterator[dict[str, Any]]:
    """A record of each request, in the order in which they were sent. Times are by the clock of the machine that wrote
    the folder."""
    sessions: dict[str, int] = {}
    for place in range(len(requests)):
        texts = {name: entries[place] for name, entries in requests.texts.items()}
        values = {name: float(entries[place]) for name, entries in requests.numbers.items()}
        session = texts["session"] or texts["id"]
        number = sessions.setdefault(session, len(sessions))
        yield {
            "metadata": _metadata(results.run.started_at, texts, values, session, number),
            "metrics": _metrics(texts, values),
            "error": _error(texts, values),
        }


def _metadata(
    began: datetime, texts: dict[str, str], values: dict[str, float], session: str, number: int
) -> dict[str, Any]:
    began_ns = round(began.timestamp() * 1e9)
    sent_ns = began_ns + round(values["sent_s"] * 1e9)
    ends_ms = (values["duration_ms"], values["abandoned_ms"])
    end_ms = next((end_ms for end_ms in ends_ms if not isnan(end_ms)), 0.0)
    cancelled = texts["outcome"] in (Outcome.CUT.value, Outcome.ABANDONED.value)
    return {
        "session_num": number,
        "x_request_id": texts["id"],
        "x_correlation_id": session,
        "conversation_id": texts["custom_id"] or session,
        "turn_index": 0 if isnan(values["turn"]) else int(values["turn"]) - 1,
        "credit_issued_ns": began_ns + round(values["scheduled_s"] * 1e9),
        "request_start_ns": sent_ns - round(values["connect_ms"] * _NS_PER_MS),
        "request_ack_ns": _after(sent_ns, values["headers_ms"]),
        "request_end_ns": sent_ns + round(end_ms * _NS_PER_MS),
        "worker_id": texts["worker"],
        "record_processor_id": "tokenswarm",
        "benchmark_phase": "profiling",
        "was_cancelled": cancelled,
        "cancellation_time_ns": sent_ns + round(end_ms * _NS_PER_MS) if cancelled else None,
    }


def _after(sent_ns: int, delay_ms: float) -> int | None:
    return None if isnan(delay_ms) else sent_ns + round(delay_ms * _NS_PER_MS)


def _metrics(texts: dict[str, str], values: dict[str, float]) -> dict[str, dict[str, Any]]:
    """Of an ok request; of others AIPerf has none."""
    if texts["outcome"] != Outcome.OK.value:
        return {}
    ttft_ms, latency_ms = (values[name] + values["connect_ms"] for name in ("ttft_ms", "e2e_ms"))
    tokens = values["output_tokens"]
    found = {
        "request_latency": (latency_ms, "ms"),
        "time_to_first_token": (ttft_ms, "ms"),
        "output_sequence_length": (tokens, "tokens"),
        "input_sequence_length": (values["prompt_tokens"], "tokens"),
    }
    if tokens > 1:
        found["inter_token_latency"] = ((latency_ms - ttft_ms) / (tokens - 1), "ms")
        if latency_ms > ttft_ms:
            rate = (tokens - 1) / (latency_ms - ttft_ms) * 1e3
            found["output_token_throughput_per_user"] = (rate, "tokens/sec/user")
    whole = ("tokens",)
    return {
        name: {"value": int(value) if unit in whole else value, "unit": unit}
        for name, (value, unit) in found.items()
        if not isnan(value)
    }


def _error(texts: dict[str, str], values: dict[str, float]) -> dict[str, Any] | None:
    if texts["outcome"] == Outcome.OK.value:
        return None
    code = None if isnan(values["status"]) else int(values["status"])
    return {"code": code, "type": texts["outcome"], "message": texts["error"] or texts["outcome"]}
