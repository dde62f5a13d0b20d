"""What Locust's own statistics are given and lack: its tables, its page and its count of requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tokenswarm.metrics.plurals import counted
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.ended_requests import LocustCount
from tokenswarm.recording.worker_report import Report
from tokenswarm.sanitize import server_text

#: What Locust's statistics have as the method of requests that are recorded.
METHOD = "CHAT"
#: Of other requests that failed, so many are named, with so many characters of each.
_NAMES, _NAME_CHARACTERS = 3, 80


def show_latencies(stats: Any, report: Report, aggregator: Aggregator) -> None:
    """Rows of their own for TTFT and token rate. They are no requests: Locust's totals do not hold them."""
    for row in report.rows:
        mode = aggregator.levels[row.level_index].level.system_prompt
        if row.outcome == Outcome.OK and row.ttft_ns is not None:
            stats.get(f"TTFT in ms, system prompt {mode}", "LLM").log(row.ttft_ns / 1e6, 0)
        if row.outcome == Outcome.OK and row.token_rate is not None:
            stats.get(f"tokens/s of a user, system prompt {mode}", "LLM").log(row.token_rate, 0)


def count_recovered(stats: Any, counts: Iterable[LocustCount]) -> None:
    """Requests whose report a worker could not send any more: Locust's count of them was in the same message."""
    for count in counts:
        stats.log_request(count.method, count.name, count.response_ms, count.response_bytes)
        if count.error is not None:
            stats.log_error(count.method, count.name, count.error)


def locust_count(event: Mapping[str, Any]) -> LocustCount:
    """What Locust's statistics make of a request event."""
    error = event.get("exception")
    return LocustCount(
        event["request_type"],
        event["name"],
        event["response_time"],
        event["response_length"],
        None if error is None else str(error),
    )


def failures_text(stats: Any) -> str:
    """Whose requests failed, as a clause: those that are recorded, or those of other users, which no table of ours has;
    "" where none failed."""
    others = _failures_of_others(stats)
    found = ["requests failed"] if len(others) < len(_failures(stats)) else []
    if others:
        which = counted(sum(others.values()), "request")
        found.append(f"{which} of other users failed, by Locust's statistics: {_most_frequent(others)}")
    return "; ".join(found)


def others_failed(stats: Any) -> bool:
    """Whether requests of users failed that are in no table of ours."""
    return bool(_failures_of_others(stats))


def _failures(stats: Any) -> dict[tuple[str, str], int]:
    """How many requests failed, by (name, method)."""
    return {key: entry.num_failures for key, entry in stats.entries.items() if entry.num_failures}


def _failures_of_others(stats: Any) -> dict[tuple[str, str], int]:
    return {key: count for key, count in _failures(stats).items() if key[1] != METHOD}


def _most_frequent(counts: Mapping[tuple[str, str], int]) -> str:
    """`5 x GET /missing, 2 x POST /login`, of (name, method)."""
    most = sorted(counts.items(), key=lambda each: -each[1])
    named = [f"{count:,} x {server_text(f'{method} {name}', _NAME_CHARACTERS)}" for (name, method), count in most]
    more = [f"{len(named) - _NAMES} further names"] if len(named) > _NAMES else []
    return ", ".join([*named[:_NAMES], *more])
