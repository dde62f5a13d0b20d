"""Requests by model and by host: each counted once, summing to the whole, and compared with what was requested."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tests.run_fixtures import issues_of, kinds_of, make_level, make_report, make_timeline
from tokenswarm.metrics.mix import MixMember, RunMix
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.mix_stats import MOST_NAMES, OTHER_NAMES
from tokenswarm.recording.summary import level_summary
from tokenswarm.recording.worker_report import Report, UnusableReport
from tokenswarm.run_folder.mix_figures import MemberFigures
from tokenswarm.run_folder.schema import IssueKind, LevelSummary
from tokenswarm.run_folder.summary_csv import summary_rows

MIX = RunMix((MixMember("a", 0.7), MixMember("b", 0.3)), (MixMember("http://one"), MixMember("http://two")))


def aggregated(timelines: Sequence[Timeline], mix: RunMix = MIX) -> Aggregator:
    """A level of 12 s whose requests were these, as a worker reports them."""
    level = make_level()
    aggregator = Aggregator(Objectives.parse(""), mix=mix)
    aggregator.begin_level(level, 0.0)
    aggregator.apply(Report.decode(make_report(timelines, [level]).encode()))
    aggregator.end_level(12.0)
    return aggregator


def summed_up(aggregator: Aggregator) -> LevelSummary:
    return level_summary(aggregator.levels[0], 12.0, aggregator.objectives, mix=aggregator.mix)


@pytest.fixture
def mixed() -> LevelSummary:
    return summed_up(
        aggregated(
            [
                make_timeline((3.1, 3.2, 3.3), tokens=30, model_index=0, host_index=1),
                make_timeline((3.3, 3.4), tokens=20, model_index=1, host_index=1),
                make_timeline((3.5, 3.7), tokens=20, model_index=1),
                make_timeline((3.1, 3.2), tokens=10, outcome=Outcome.TRUNCATED, model_index=1),
                make_timeline((11.9, 12.1), sent_s=11.8, tokens=8, outcome=Outcome.CUT),
                make_timeline((1.1, 1.2, 1.3, 2.5), sent_s=1.0, host_index=1),
            ]
        )
    )


@pytest.mark.parametrize("of", [lambda figures: figures.models, lambda figures: figures.hosts])
@pytest.mark.parametrize("scope", ["hold", "whole"])
def test_rows_sum_to_the_total(
    mixed: LevelSummary, scope: str, of: Callable[[object], tuple[MemberFigures, ...]]
) -> None:
    total = getattr(mixed, scope)
    members = of(total)
    assert len(members) == 2
    for name in ("requests", "failures", "output_tokens", "token_rate", "request_rate"):
        assert sum(getattr(member, name) for member in members) == pytest.approx(getattr(total, name))
    for outcome, count in total.outcomes.items():
        assert sum(member.outcomes.get(outcome, 0) for member in members) == count
    for name in ("ttft_s", "tpot_s", "e2e_s", "request_token_rate"):
        assert sum(getattr(member, name).count for member in members) == getattr(total, name).count
    assert sum(member.share or 0 for member in members) == pytest.approx(1)


def test_figures_are_of_the_model_s_own_requests(mixed: LevelSummary) -> None:
    one, other = mixed.hold.models
    assert (one.name, one.requests, one.share, one.requested_share) == ("a", 2, 0.4, 0.7)
    assert (other.name, other.requests, other.failures, other.share) == ("b", 3, 1, 0.6)
    assert (one.ttft_s.max, other.ttft_s.min) == (pytest.approx(0.1, rel=1e-3), pytest.approx(0.3, rel=1e-3))
    assert [host.requests for host in mixed.hold.hosts] == [3, 2]
    assert [host.requested_share for host in mixed.hold.hosts] == [None, None]


def test_a_run_of_one_model_and_one_host_has_no_rows_of_them() -> None:
    alone = summed_up(aggregated([make_timeline()], RunMix((MixMember("a"),), (MixMember("http://one"),))))
    assert alone.hold.models == alone.hold.hosts == ()
    assert [row["scope"] for row in summary_rows([alone])] == ["hold", "whole"]


def test_summary_csv_has_a_row_for_each_model_and_host_beside_the_totals(mixed: LevelSummary) -> None:
    rows = summary_rows([mixed])
    assert len({tuple(row) for row in rows}) == 1
    assert [row["scope"] for row in rows[:2]] == ["hold", "whole"]
    models = [row for row in rows if row["scope"] == "hold by model"]
    total = next(row for row in rows if row["scope"] == "hold")
    for row in models:
        figures = next(each for each in mixed.hold.models if each.name == row["model"])
        assert row["requests"] == figures.requests
        assert row["outcomes_ok"] == figures.outcomes.get("ok", 0)
        assert row["requested_share"] == figures.requested_share
    for name in ("requests", "failures", "outcomes_ok", "outcomes_truncated", "ttft_s_count"):
        assert sum(row[name] for row in models) == total[name]
    hosts = [row for row in rows if row["scope"] == "whole by host"]
    assert [row["host"] for row in hosts] == ["http://one", "http://two"]


def test_requests_of_each_name_sum_to_the_total() -> None:
    found = summed_up(
        aggregated(
            [
                make_timeline((3.1, 3.2, 3.3), tokens=30, name="summarise", prompt_hash="aa"),
                make_timeline((3.3, 3.4), tokens=20, name="translate", prompt_hash="bb"),
                make_timeline((3.5, 3.7), tokens=20, name="summarise", prompt_hash="aa"),
                make_timeline((), outcome=Outcome.TIMEOUT, name="translate"),
            ]
        )
    )
    assert [(each.name, each.requests, each.failures, each.output_tokens) for each in found.hold.names] == [
        ("summarise", 2, 0, 50.0),
        ("translate", 2, 1, 20.0),
    ]
    assert [each.repeated for each in found.hold.names] == [1, 0]
    rows = summary_rows([found])
    assert len({tuple(row) for row in rows}) == 1
    repeated = {row["name"]: row["prompts_repeated"] for row in rows if row["scope"] in ("hold", "hold by name")}
    assert repeated == {None: 1, "summarise": 1, "translate": 0}
    (row,) = (row for row in rows if (row["scope"], row["name"]) == ("hold by name", "translate"))
    assert (row["requests"], row["failures"], row["model"], row["ttft_s_count"]) == (2, 1, None, 1)


def test_figures_are_of_a_limited_number_of_names_and_of_all_others_together() -> None:
    timelines = [make_timeline(name=f"name {number}") for number in range(MOST_NAMES + 3)]
    names = summed_up(aggregated([*timelines, make_timeline(name="name 1")])).hold.names
    assert len(names) == MOST_NAMES + 1
    counts = {each.name: each.requests for each in names}
    assert (counts[OTHER_NAMES], counts["name 1"], counts["name 0"]) == (3, 2, 1)


@pytest.mark.parametrize("place", ["model_index", "host_index"])
def test_a_report_with_a_model_or_host_that_the_run_does_not_have_is_refused(place: str) -> None:
    with pytest.raises(UnusableReport):
        aggregated([make_timeline(**{place: 2})])
    aggregated([make_timeline(**{place: 1})])


def test_shares_that_chance_does_not_explain_make_the_run_suspect() -> None:
    as_requested = [make_timeline(model_index=int(number % 10 >= 7)) for number in range(100)]
    assert IssueKind.MODEL_SHARES not in kinds_of(aggregated(as_requested))
    other = [make_timeline(model_index=int(number % 2)) for number in range(100)]
    issues = [issue for issue in issues_of(aggregated(other)) if issue.kind == IssueKind.MODEL_SHARES]
    assert [(issue.values["requests"], issue.values["of"]) for issue in issues] == [(50, 100), (50, 100)]
    assert [issue.values["requested_share"] for issue in issues] == [0.7, 0.3]


def test_shares_that_nobody_requested_are_not_judged() -> None:
    rows_name_them = RunMix((MixMember("a"), MixMember("b")))
    aggregator = aggregated([make_timeline(model_index=0) for _ in range(100)], rows_name_them)
    assert IssueKind.MODEL_SHARES not in kinds_of(aggregator)
