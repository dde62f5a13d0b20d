"""The requests of each name for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from tokenswarm.metrics.buckets import E2E_S, TTFT_S
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.recording.mix_stats import MemberStats
from tokenswarm.recording.session_metrics import cumulative_counts


def name_metrics(
    label_names: Sequence[str], levels: Iterable[tuple[Sequence[str], Mapping[str, MemberStats]]]
) -> Iterator[Metric]:
    """levels: the values of the labels of each, and its requests by name. Nothing where no request has one."""
    known = [(labels, names) for labels, names in levels if names]
    if not known:
        return
    named = (*label_names, "name")
    requests = CounterMetricFamily(
        "tokenswarm_named_requests", "Requests of each name that ended, by outcome.", labels=(*named, "outcome")
    )
    tokens = CounterMetricFamily(
        "tokenswarm_named_output_tokens",
        "Output tokens of requests of each name that arrived before the drain.",
        labels=named,
    )
    ttft_s = HistogramMetricFamily(
        "tokenswarm_named_time_to_first_token_seconds", "Time to first token of ok requests, by name.", labels=named
    )
    e2e_s = HistogramMetricFamily(
        "tokenswarm_named_e2e_latency_seconds", "From sending to the last output of ok requests, by name.", labels=named
    )
    for labels, names in known:
        for name, found in sorted(names.items()):
            for outcome in sorted(Outcome):
                requests.add_metric((*labels, name, outcome), found.outcomes[outcome])
            tokens.add_metric((*labels, name), found.output_tokens)
            ttft_s.add_metric((*labels, name), cumulative_counts(found.ttft_s, TTFT_S), found.ttft_s.sum)
            e2e_s.add_metric((*labels, name), cumulative_counts(found.e2e_s, E2E_S), found.e2e_s.sum)
    yield from (requests, tokens, ttft_s, e2e_s)
