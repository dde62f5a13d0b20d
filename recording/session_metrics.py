"""The sessions of levels for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from tokenswarm.metrics.buckets import SESSION_S
from tokenswarm.metrics.histogram import Histogram
from tokenswarm.recording.session_stats import SessionStats

#: How a session ended.
_ENDINGS = ("completed", "failed", "abandoned")


def session_metrics(
    label_names: Sequence[str], levels: Iterable[tuple[Sequence[str], SessionStats]]
) -> Iterator[Metric]:
    """levels: the values of the labels of each, and its sessions. Nothing where there are none."""
    known = [(labels, sessions) for labels, sessions in levels if sessions.started]
    if not known:
        return
    started = CounterMetricFamily(
        "tokenswarm_sessions_started", "Sessions whose first request has ended.", labels=label_names
    )
    ended = CounterMetricFamily(
        "tokenswarm_sessions", "Sessions that ended, by how they did.", labels=(*label_names, "ending")
    )
    turns = CounterMetricFamily("tokenswarm_session_turns", "Turns of completed sessions.", labels=label_names)
    duration_s = HistogramMetricFamily(
        "tokenswarm_session_duration_seconds",
        "From a session's first request to the end of its last one, think times included, of completed ones.",
        labels=label_names,
    )
    for labels, sessions in known:
        started.add_metric(labels, sessions.started)
        for ending in _ENDINGS:
            ended.add_metric((*labels, ending), getattr(sessions, ending))
        turns.add_metric(labels, sessions.completed_turns)
        found = sessions.duration_s
        duration_s.add_metric(labels, cumulative_counts(found, SESSION_S), found.sum)
    yield from (started, ended, turns, duration_s)


def cumulative_counts(histogram: Histogram, bounds: Sequence[float]) -> list[tuple[str, float]]:
    """(upper bound, how many values are at most that), as Prometheus has histograms."""
    counts = [*histogram.counts_at_or_below(bounds), histogram.count]
    return list(zip([*map(str, bounds), "+Inf"], counts))
