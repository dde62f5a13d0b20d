"""Requests that users left: from the rows of a level to summary.json, tables, Prometheus and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from tests.run_fixtures import issues_of, kinds_of, make_level, make_report, make_timeline
from tokenswarm.metrics.abandonment import Abandonment
from tokenswarm.metrics.level import Scope
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.metrics.token_counts import TokenSource
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.prometheus import LiveRun, RunCollector
from tokenswarm.recording.server_samples import ServerSample, ServerSamples
from tokenswarm.recording.summary import level_summary
from tokenswarm.recording.worker_report import Report
from tokenswarm.reports.abandon_lines import abandon_cells, abandon_lines
from tokenswarm.run_folder.abandon_figures import AbandonFigures, WasteFigures
from tokenswarm.run_folder.schema import IssueKind, LevelSummary, RunFacts
from tokenswarm.run_folder.summary_csv import summary_rows

PLAN = Abandonment(0.5, "1s", after_s=1.0)
#: One user: a request each two seconds from 2 s on, of four tokens in 0.8 s; each second one is left after 1 s.
SPAN_S = 2.0


def answered(sent_s: float, **more: Any) -> Timeline:
    arrivals = [sent_s + after_s for after_s in (0.2, 0.4, 0.6, 0.8)]
    return make_timeline(arrivals, sent_s=sent_s, over_s=sent_s + 0.8, **more)


def left(sent_s: float, **more: Any) -> Timeline:
    facts: dict[str, Any] = {"abandons": True, "abandon_late_ns": 2_000_000, "source": TokenSource.EVENTS, **more}
    return make_timeline(
        [sent_s + 0.5, sent_s + 0.9], sent_s=sent_s, over_s=sent_s + 1.002, outcome=Outcome.ABANDONED, **facts
    )


HALF = [made(start) for start in range(2, 42, 4) for made in (answered, lambda start: left(start + 2.0))]


def aggregated(
    timelines: Sequence[Timeline] = HALF, slo: str = "", plan: Abandonment | None = PLAN, **of_level: Any
) -> Aggregator:
    """A level with a hold from 2 s to 42 s whose requests were these."""
    level = make_level(**({"users": 1, "level_time_s": 42.0} | of_level))
    aggregator = Aggregator(Objectives.parse(slo), abandonment=plan)
    aggregator.begin_level(level, 0.0)
    aggregator.apply(Report.decode(make_report(timelines, [level]).encode()))
    aggregator.close(42.0)
    return aggregator


def server(goes_on_s: float, tokens_per_s: float, **without: Any) -> ServerSamples:
    """Samples each second of a server that runs each left request for so much longer."""
    samples = ServerSamples()
    for second in range(1, 43):
        since_left_s = (second + 0.5 - 4.0) % 4.0 - 1.002
        running = int((second + 0.5 - 2) % 4 < 0.8) + int(-1.002 <= since_left_s < goes_on_s)
        values = {"requests_running": running, "requests_waiting": 0, "output_tokens_total": tokens_per_s * second}
        values["kv_cache_utilization"] = 0.1
        kept = {name: float(value) for name, value in values.items() if name not in without.get("lacking", ())}
        samples.add(ServerSample(second + 0.5, 0, kept), 0)
    return samples


def summed_up(aggregator: Aggregator, samples: ServerSamples | None = None) -> LevelSummary:
    return level_summary(aggregator.levels[0], 42.0, aggregator.objectives, samples)


def figures_of(aggregator: Aggregator, samples: ServerSamples | None = None) -> AbandonFigures:
    found = summed_up(aggregator, samples).abandonment
    assert found is not None
    return found


def test_each_request_of_the_hold_is_counted_by_what_became_of_it() -> None:
    others = [
        answered(20.0, abandons=True),
        make_timeline((), sent_s=21.0, outcome=Outcome.REFUSED, abandons=True),
        make_timeline((), sent_s=22.0, outcome=Outcome.CUT, abandons=True),
        left(0.5),  # in the ramp
    ]
    found = figures_of(aggregated([*HALF, *others]))
    assert (found.requested_share, found.after, found.requests) == (0.5, "1s", 23)
    assert (found.drawn, found.abandoned, found.ended_before, found.overstayed) == (13, 10, 1, 0)
    assert found.share == pytest.approx(10 / 23)
    assert (found.late_p99_s, found.late_max_s) == (pytest.approx(0.002), pytest.approx(0.002))


def test_an_abandoned_request_has_no_latency_and_is_no_failure() -> None:
    aggregator = aggregated()
    hold = aggregator.levels[0].scopes[Scope.HOLD]
    assert hold.outcomes == {"ok": 10, "abandoned": 10}
    assert (hold.ttft_s.count, hold.gap_s.count, hold.e2e_s.count, aggregator.failures) == (10, 30, 10, 0)
    assert hold.output_tokens == pytest.approx(60)
    assert IssueKind.ABANDONMENT not in kinds_of(aggregator)


def test_without_the_option_there_is_nothing_of_it() -> None:
    summary = summed_up(aggregated([answered(3.0)], plan=None))
    assert summary.abandonment is None and abandon_lines([summary]) == []
    assert not any(name.startswith("abandonment") for row in summary_rows([summary]) for name in row)


@pytest.mark.parametrize(
    ("goes_on_s", "tokens_per_s", "seconds", "tokens"), [(0.0, 1.5, 0.0, 0.0), (2.0, 3.0, 2.0, 60.0)]
)
def test_what_the_server_went_on_to_do_is_by_its_own_metrics(
    goes_on_s: float, tokens_per_s: float, seconds: float, tokens: float
) -> None:
    found = figures_of(aggregated(), server(goes_on_s, tokens_per_s)).waste
    assert found is not None and found.samples == 40
    assert found.running_mean == pytest.approx(seconds / 4)
    assert found.seconds_per_request == pytest.approx(seconds)
    assert found.tokens == pytest.approx(tokens, abs=1e-6)
    assert found.share == pytest.approx(tokens / (40 * tokens_per_s), abs=1e-6)


def test_tokens_of_the_edges_are_no_waste() -> None:
    """The counter grows by what arrived, all of the last second's behind the end of the hold."""
    samples = ServerSamples()
    for time_s, count in ((1.5, 0.0), (2.5, 1.0), (20.0, 30.0), (41.5, 60.0), (42.5, 90.0)):
        samples.add(ServerSample(time_s, 0, {"output_tokens_total": count}), 0)
    found = figures_of(aggregated(), samples).waste
    assert found is not None and (found.tokens, found.tokens_low) == (0.0, 0.0)
    assert found.tokens_high == pytest.approx(30)
    (_, line) = abandon_lines([summed_up(aggregated(), samples)])
    assert "with no tokens measured that nobody read (at most 30)" in line


def test_a_waste_that_is_not_known_says_why() -> None:
    assert figures_of(aggregated()).waste_note == "the server reports no metrics, or none were read in the hold"
    none_left = figures_of(aggregated([answered(3.0)]), server(0.0, 1.0))
    assert (none_left.waste, none_left.waste_note) == (None, "no request was abandoned")
    found = figures_of(aggregated(), server(2.0, 3.0, lacking=("output_tokens_total",))).waste
    assert found is not None and (found.tokens, found.share) == (None, None) and found.seconds_per_request
    found = figures_of(aggregated(), server(2.0, 3.0, lacking=("requests_running", "requests_waiting"))).waste
    assert found is not None and found.seconds_per_request is None and found.tokens == pytest.approx(60)
    lacking = ("requests_running", "requests_waiting", "output_tokens_total")
    nothing = figures_of(aggregated(), server(2.0, 3.0, lacking=lacking))
    assert nothing.waste is None and "cannot be compared" in nothing.waste_note


def test_tokens_are_not_compared_where_events_hold_several() -> None:
    twos = [
        answered(start, tokens=8) if number % 2 == 0 else left(start) for number, start in enumerate(range(2, 42, 2))
    ]
    found = figures_of(aggregated(twos), server(2.0, 3.0)).waste
    assert found is not None and found.tokens is None
    counted = [
        answered(start, tokens=8) if number % 2 == 0 else left(start, source=TokenSource.ENGINE)
        for number, start in enumerate(range(2, 42, 2))
    ]
    found = figures_of(aggregated(counted), server(2.0, 3.0)).waste
    assert found is not None and found.tokens == pytest.approx(120 - 10 * 8 - 10 * 2)


def test_a_share_that_chance_does_not_explain_is_an_issue() -> None:
    many = [answered(2.0 + number / 50, abandons=number < 500) for number in range(1500)]
    (issue,) = [each for each in issues_of(aggregated(many)) if each.kind == IssueKind.ABANDONMENT]
    assert issue.values == {"drawn": 500, "requests": 1500, "requested_share": 0.5}
    assert "(33.3%) were to leave them, and 50.0% were requested" in issue.message
    assert not figures_of(aggregated(many)).as_requested


def test_a_request_that_its_user_waited_for_is_an_issue() -> None:
    slow = make_timeline((20.2, 21.3), sent_s=20.0, over_s=21.3, abandons=True)
    soon = make_timeline((20.2, 21.2), sent_s=20.0, over_s=21.2, abandons=True)  # the client was busy for 0.2 s
    (issue,) = [each for each in issues_of(aggregated([*HALF, slow, soon])) if each.kind == IssueKind.ABANDONMENT]
    assert issue.values == {"overstayed": 1, "drawn": 12}
    assert "were to leave 1s after sending" in issue.message
    assert not figures_of(aggregated([*HALF, slow])).as_requested


def test_other_load_is_not_seen_in_answers_that_the_server_goes_on_with() -> None:
    assert IssueKind.OTHER_LOAD not in kinds_of(aggregated(), server(2.0, 3.0))
    assert IssueKind.OTHER_LOAD in kinds_of(aggregated(), server(2.0, 30.0))


def test_the_table_names_share_lateness_and_waste() -> None:
    aggregator = aggregated()
    heading, line = abandon_lines([summed_up(aggregator, server(2.0, 3.0))])
    assert heading == "Abandoned requests (--abandon 50 % after=1s):"
    assert line == (
        "  1 user without system prompt: 10 of 20 requests (50.0 %); drawn 10, of which 0 ended before; users left "
        "2.00 ms late (p99); the server went on for 2.00 s with each, generating 57 to 63 tokens that nobody read "
        "(50.0 % of all); latencies and the share of good requests are of the 10 that nobody was to leave"
    )
    (_, line) = abandon_lines([summed_up(aggregator)])
    assert "what the server went on to do is not known: the server reports no metrics, or none were read in" in line
    assert "NOT AS REQUESTED: " in abandon_lines([summed_up(aggregated([answered(3.0, abandons=True)] * 20))])[1]
    cells = abandon_cells(figures_of(aggregator, server(2.0, 3.0)))
    assert cells == [
        "20",
        "10",
        "10",
        "50.0 %",
        "10",
        "50.0 %",
        "0",
        "2.00 ms",
        "2.00 s",
        "0.500",
        "57 to 63",
        "50.0 %",
        "as requested",
    ]
    interval = {"running_mean": 0.1, "running_mean_low": 0.05, "running_mean_high": 0.15, "seconds_per_request": 0.0}
    within = WasteFigures(samples=40, tokens=0.0, tokens_high=30.0, **interval)
    shown = abandon_cells(msgspec.structs.replace(figures_of(aggregator), waste=within))[8:11]
    assert shown == ["none measured", "0.100 (0.050 to 0.150)", "none measured (at most 30)"]


def test_summary_csv_has_it_of_the_hold() -> None:
    hold, whole = summary_rows([summed_up(aggregated(), server(2.0, 3.0))])
    shown = ("abandonment_requested_share", "abandonment_after", "abandonment_abandoned", "abandonment_waste_tokens")
    assert [hold[name] for name in shown] == [0.5, "1s", 10, pytest.approx(60)]
    assert [whole[name] for name in shown] == [None] * 4
    assert hold["outcomes_abandoned"] == 10


def test_prometheus_has_the_outcome_and_of_levels_that_are_over_the_waste() -> None:
    live = LiveRun()
    live.aggregator, live.server, live.now_s = aggregated(), server(2.0, 3.0), lambda: 42.0
    live.facts = RunFacts("http://gpu:8000", "vllm", "tiny", "ladder", (), {}, {}, abandonment=PLAN)
    registry = CollectorRegistry()
    registry.register(RunCollector(live))
    labels = {"engine": "vllm", "model": "tiny", "system_prompt": "off", "level": "1"}
    assert registry.get_sample_value("tokenswarm_requests_total", labels | {"outcome": "abandoned"}) == 10
    assert registry.get_sample_value("tokenswarm_abandoned_server_seconds", labels) == pytest.approx(2.0)
    assert registry.get_sample_value("tokenswarm_abandoned_server_tokens", labels) == pytest.approx(60)
    live.server = ServerSamples()
    assert registry.get_sample_value("tokenswarm_abandoned_server_seconds", labels) is None
