"""Sessions of a level: from the rows of requests to summary.json, tables and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tests.run_fixtures import S, issues_of, kinds_of, make_level, make_report, make_timeline
from tokenswarm.metrics.level import Phase, ThinkTime
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.live_series import LiveSeries
from tokenswarm.recording.prometheus import LiveRun, RunCollector
from tokenswarm.recording.recorder import Recorder
from tokenswarm.recording.session_stats import LAST_TURN
from tokenswarm.recording.summary import level_summary
from tokenswarm.recording.worker_report import Report
from tokenswarm.reports.session_table import session_lines, session_notes
from tokenswarm.run_folder.schema import IssueKind, LevelSummary, RunFacts
from tokenswarm.run_folder.session_figures import SessionFigures
from tokenswarm.run_folder.summary_csv import summary_rows
from tokenswarm.web.live_view import level_row


def turn(
    session: str, number: int, sent_s: float, ttft_s: float = 0.1, *, turns: int = 3, lasts_s: float = 1.0, **more: Any
) -> Timeline:
    """A request that lasts a second from its sending, its last token half a second after its first."""
    fields = {"session": session, "turn": number, "session_turns": turns, "user": session, **more}
    return make_timeline((sent_s + ttft_s, sent_s + ttft_s + 0.5), sent_s=sent_s, over_s=sent_s + lasts_s, **fields)


def aggregated(timelines: Sequence[Timeline], **of_level: Any) -> Aggregator:
    """A level of 100 s with a ramp of 2 s whose requests were these, in the order in which they ended."""
    level = make_level(**({"level_time_s": 100.0} | of_level))
    aggregator = Aggregator(Objectives.parse(""))
    aggregator.begin_level(level, 0.0)
    aggregator.apply(Report.decode(make_report(timelines, [level]).encode()))
    aggregator.close(100.0)
    return aggregator


def summed_up(aggregator: Aggregator) -> LevelSummary:
    return level_summary(aggregator.levels[0], 100.0, aggregator.objectives)


def sessions_of(timelines: Sequence[Timeline]) -> SessionFigures:
    found = summed_up(aggregated(timelines)).sessions
    assert found is not None
    return found


WHOLE = [turn("a", 1, 3.0), turn("a", 2, 6.0, 0.2), turn("a", 3, 9.0, 0.3)]


def test_each_session_is_counted_once_by_its_end() -> None:
    found = sessions_of(
        [
            *WHOLE,
            turn("b", 1, 3.0),
            turn("b", 2, 5.0, outcome=Outcome.HTTP_ERROR),
            turn("c", 1, 3.0),
            turn("c", 2, 50.0, outcome=Outcome.CUT),
            turn("d", 1, 3.0, turns=1),
            turn("e", 1, 80.0),
        ]
    )
    assert (found.started, found.completed, found.failed, found.unfinished) == (5, 2, 1, 2)
    assert found.turns_mean == 2.0
    assert (found.duration_s.count, found.duration_s.max) == (2, pytest.approx(7.0, rel=0.001))
    # TTFT and decoding of each turn: 0.6, 0.7 and 0.8 s.
    assert (found.waited_s.count, found.waited_s.max) == (2, pytest.approx(2.1, rel=0.001))
    assert (found.out_of_order, found.overlapping) == (0, 0)


def test_a_turn_that_its_user_left_ends_its_session() -> None:
    aggregator = aggregated([*WHOLE, turn("b", 1, 3.0), turn("b", 2, 5.0, outcome=Outcome.ABANDONED, abandons=True)])
    summary = summed_up(aggregator)
    found = summary.sessions
    assert found is not None
    assert (found.started, found.completed, found.failed, found.abandoned, found.unfinished) == (2, 1, 0, 1, 0)
    of_sessions, _ = session_lines([summary])
    assert of_sessions[1].split()[1:5] == ["started", "completed", "failed", "abandoned"]
    assert of_sessions[2].split()[5:10] == ["2", "1", "0", "1", "0"]
    assert "abandoned" not in "".join(next(session_lines([summed_up(aggregated(WHOLE))])))
    assert {row["sessions_abandoned"] for row in summary_rows([summary])} == {None, 1}


def test_prometheus_counts_sessions_by_how_they_ended_and_their_turns() -> None:
    live = LiveRun()
    live.aggregator = aggregated(
        [
            *WHOLE,
            turn("b", 1, 3.0),
            turn("b", 2, 5.0, outcome=Outcome.HTTP_ERROR),
            turn("c", 1, 3.0, outcome=Outcome.ABANDONED, abandons=True),
            turn("d", 1, 3.0),
        ]
    )
    live.facts = RunFacts("http://gpu:8000", "vllm", "tiny", "ladder", (), {}, {})
    registry = CollectorRegistry()
    registry.register(RunCollector(live))
    labels = {"engine": "vllm", "model": "tiny", "system_prompt": "off", "level": "10"}

    def shown(name: str, **more: str) -> float | None:
        return registry.get_sample_value(f"tokenswarm_{name}", labels | more)

    assert shown("sessions_started_total") == 4
    endings = ("completed", "failed", "abandoned")
    assert [shown("sessions_total", ending=ending) for ending in endings] == [1, 1, 1]
    assert shown("session_turns_total") == 3
    assert shown("session_duration_seconds_count") == 1
    assert shown("session_duration_seconds_sum") == pytest.approx(7.0, rel=0.001)
    assert [shown("session_duration_seconds_bucket", le=le) for le in ("5.0", "10.0", "+Inf")] == [0, 1, 1]
    live.aggregator = aggregated([make_timeline()])
    assert shown("sessions_started_total") is None


def test_the_live_page_shows_the_sessions_of_each_level() -> None:
    found = level_row(aggregated([*WHOLE, turn("b", 1, 3.0)]).levels[0], aggregated([]), LiveSeries(), 100.0).sessions
    assert found is not None and found.duration_p50_s == pytest.approx(7.0, rel=0.001)
    assert (found.started, found.completed, found.failed, found.abandoned, found.turns_mean) == (2, 1, 0, 0, 3.0)
    assert level_row(aggregated([]).levels[0], aggregated([]), LiveSeries(), 100.0).sessions is None


def test_requests_of_the_hold_are_counted_by_turn() -> None:
    found = sessions_of(
        [
            turn("r", 1, 0.5),  # in the ramp
            *WHOLE,
            turn("b", 1, 3.0, 0.5, prompt_tokens=100, cached_tokens=0),
            turn("b", 2, 5.0, 0.4, prompt_tokens=300, cached_tokens=150),
            turn("c", 1, 3.0, outcome=Outcome.TIMEOUT),
        ]
    )
    assert found.started == 4
    first, second, third = found.turns
    assert [each.turn for each in found.turns] == [1, 2, 3]
    assert [(each.requests, each.failures, each.ttft_s.count) for each in found.turns] == [
        (3, 1, 2),
        (2, 0, 2),
        (1, 0, 1),
    ]
    assert (first.prompt_tokens_mean, first.cached_share, first.uncached_tokens_mean) == (100, 0, 100)
    assert (second.prompt_tokens_mean, second.cached_share, second.uncached_tokens_mean) == (300, 0.5, 150)
    assert (third.prompt_tokens_mean, third.cached_share, third.uncached_tokens_mean) == (None, None, None)
    assert third.e2e_s.max == pytest.approx(0.8, rel=0.001)


@pytest.mark.slow
def test_late_turns_are_counted_together() -> None:
    turns = LAST_TURN + 3
    found = sessions_of([turn("a", number, 2.0 + 2 * number, turns=turns) for number in range(1, turns + 1)])
    assert [each.turn for each in found.turns] == list(range(1, LAST_TURN + 1))
    assert (found.turns[-1].requests, found.turns[-1].and_later, found.turns[0].and_later) == (4, True, False)


def test_ttft_by_uncached_tokens_has_the_slope_of_the_server() -> None:
    """10 ms and 0.2 ms for each token that is not cached."""
    uncached = [0, 63, 64, 100, 127, 128, 1000, 5000]
    timelines = [
        turn(str(place), 1, 3.0 + 2 * place, 0.01 + 0.0002 * tokens, prompt_tokens=6000, cached_tokens=6000 - tokens)
        for place, tokens in enumerate(uncached)
    ]
    unknown = turn("u", 1, 50.0, 5.0, prompt_tokens=10, lasts_s=9.0)
    found = sessions_of([*timelines, unknown])
    assert found.ttft_per_uncached_token_s == pytest.approx(0.0002, rel=1e-6)
    groups = [(each.least_tokens, each.most_tokens, each.requests) for each in found.uncached]
    assert groups == [(0, 63, 2), (64, 127, 3), (128, 255, 1), (512, 1023, 1), (4096, 8191, 1)]
    assert found.uncached[-1].ttft_s.max == pytest.approx(1.01, rel=0.001)
    assert sessions_of(WHOLE).ttft_per_uncached_token_s is None


def test_a_turn_that_a_limit_refused_and_was_sent_again_is_in_order() -> None:
    refused = turn("a", 2, 5.0, outcome=Outcome.REFUSED_BY_LIMIT, retry_after_ns=S)
    found = sessions_of([turn("a", 1, 3.0), refused, turn("a", 2, 7.0), turn("a", 3, 9.0)])
    assert (found.completed, found.out_of_order, found.overlapping) == (1, 0, 0)


@pytest.mark.parametrize(
    ("timelines", "expected"),
    [
        (WHOLE, None),
        ([turn("a", 1, 3.0), turn("a", 2, 3.9)], (0, 1)),
        ([turn("a", 1, 3.0), turn("a", 3, 5.0)], (1, 0)),
        ([turn("a", 2, 3.0)], (1, 0)),
        ([turn("a", 1, 3.0), turn("a", 1, 5.0)], (1, 0)),
    ],
)
def test_turns_that_are_not_one_after_the_other_make_a_run_suspect(
    timelines: list[Timeline], expected: tuple[int, int] | None
) -> None:
    found = [issue for issue in issues_of(aggregated(timelines)) if issue.kind == IssueKind.SESSION_ORDER]
    assert [(issue.values["out_of_order"], issue.values["overlapping"]) for issue in found] == (
        [expected] if expected else []
    )


def test_a_level_without_sessions_has_no_figures_of_them() -> None:
    level = summed_up(aggregated([make_timeline((3.1, 3.2))]))
    assert level.sessions is None
    assert not any("session" in name for name in summary_rows([level])[0])
    assert list(session_lines([level])) == session_notes([level]) == []


def test_summary_csv_has_the_sessions_of_the_whole_level() -> None:
    hold, whole = summary_rows([summed_up(aggregated(WHOLE))])
    assert (whole["sessions_started"], whole["sessions_completed"], whole["sessions_duration_s_p50"]) == (
        1,
        1,
        pytest.approx(7.0, rel=0.001),
    )
    assert hold["sessions_started"] is None
    assert list(hold) == list(whole)


def test_delays_of_a_file_are_audited_as_think_times_are() -> None:
    rows = [turn("a", 1, 3.0), turn("a", 2, 6.0, think_ns=2 * S), turn("a", 3, 8.0, think_ns=S)]
    found = summed_up(aggregated(rows)).think_time
    assert found is not None
    assert (found.requested, found.pauses, found.requested_mean_s, found.actual_mean_s) == (
        "recorded delays",
        2,
        1.5,
        1.5,
    )
    late = aggregated([turn("a", 1, 3.0), turn("a", 2, 9.0, think_ns=2 * S)])
    assert IssueKind.THINK_TIME in kinds_of(late)
    both = aggregated(rows, think_time=ThinkTime("exp(2s)", 2.0, "1"))
    assert (summed_up(both).think_time or found).requested == "exp(2s)"


def test_answers_without_visible_text_are_counted_where_later_turns_carry_them() -> None:
    hidden = {"first_visible_ns": None}
    rows = [turn("a", 1, 3.0, **hidden), turn("a", 2, 5.0), turn("a", 3, 7.0, **hidden)]
    level = summed_up(aggregated(rows))
    assert level.sessions is not None
    assert level.sessions.empty_answers == 1
    assert "1 answer" in session_notes([level])[0]


def test_tables_have_them() -> None:
    level = summed_up(
        aggregated(
            [
                *WHOLE,
                turn("b", 1, 3.0, prompt_tokens=100, cached_tokens=0),
                turn("b", 2, 5.0, 0.05, prompt_tokens=300, cached_tokens=250),
            ]
        )
    )
    by_level, by_turn = session_lines([level])
    assert by_level[-1].split()[5:12] == ["2", "1", "0", "1", "3", "7.00", "s*"]
    assert [line.split()[5:8] for line in by_turn[2:]] == [["1", "2", "0"], ["2", "2", "0"], ["3", "1", "0"]]
    assert "83.3 %" in by_turn[3]
    (note,) = session_notes([level])
    assert "1.00 s" in note  # 0.05 s for 50 tokens


def of_agent(name: str, number: int, sent_s: float, *, turns: int, **more: Any) -> Timeline:
    """A request of an agent of a session of six requests: two of main, two of main.1, and two of main.2."""
    place = {"agent": name, "depth": name.count("."), "session_requests": 6}
    return turn("a", number, sent_s, turns=turns, **place, **more)


TREE = [
    of_agent("main", 1, 3.0, turns=2, lasts_s=1.0),
    of_agent("main.1", 1, 4.0, turns=2, lasts_s=1.0),
    of_agent("main.2", 1, 4.2, turns=2, lasts_s=1.5),
    of_agent("main.1", 2, 6.0, turns=2, lasts_s=1.0),
    of_agent("main.2", 2, 6.0, turns=2, lasts_s=2.0),
    of_agent("main", 2, 9.0, turns=2, lasts_s=1.0, join_ns=4 * S, think_ns=S),
]


def test_a_session_with_sub_agents_is_complete_when_all_of_them_are() -> None:
    found = sessions_of(TREE)
    assert (found.started, found.completed, found.failed, found.unfinished) == (1, 1, 0, 0)
    assert (found.turns_mean, found.out_of_order, found.overlapping) == (2.0, 0, 0)
    assert found.duration_s.mean == pytest.approx(7.0, rel=0.01)
    # Waits of 0.6 s each: from 4.2 to 4.6 s and from 6 to 6.6 s two agents wait at once.
    assert found.waited_s.mean == pytest.approx(6 * 0.6 - 0.4 - 0.6, rel=0.01)
    first, second = found.depths
    assert (first.depth, first.agents, first.requests, first.joins) == (0, 1, 2, 1)
    assert (second.depth, second.agents, second.requests, second.joins) == (1, 2, 4, 0)
    assert first.join_s.mean == pytest.approx(4.0, rel=0.01)
    assert sessions_of(TREE[:-1]).unfinished == 1


def test_a_request_before_the_end_of_a_sub_agent_overlaps_it() -> None:
    early = of_agent("main", 2, 7.5, turns=2, lasts_s=1.0)
    assert sessions_of([*TREE[:-1], early]).overlapping == 1
    assert IssueKind.SESSION_ORDER in kinds_of(aggregated([*TREE[:-1], early]))
    beside = of_agent("main.2", 1, 4.2, turns=2, lasts_s=0.2)
    assert sessions_of([TREE[0], beside, TREE[1]]).overlapping == 0


def test_a_session_that_failed_counts_once_whatever_its_agents_still_send() -> None:
    failed = of_agent("main.1", 1, 4.0, turns=2, outcome=Outcome.CONTEXT_OVERFLOW)
    found = sessions_of([TREE[0], failed, of_agent("main.2", 1, 4.2, turns=2, outcome=Outcome.HTTP_ERROR)])
    assert (found.started, found.failed, found.overflowed, found.unfinished) == (1, 1, 1, 0)


def test_the_pause_of_an_agent_is_counted_from_the_end_of_its_sub_agents() -> None:
    aggregator = aggregated(TREE, think_time=ThinkTime("1s", 1.0))
    think = aggregator.levels[0].think
    assert (think.pauses, think.requested_mean_s, think.actual_mean_s) == (1, 1.0, pytest.approx(1.0))


def test_a_level_ends_when_a_user_has_no_further_session() -> None:
    level = make_level(level_time_s=100.0)
    recorder, aggregator = Recorder(0), Aggregator(Objectives.parse(""))
    aggregator.begin_level(level, 0.0)
    recorder.begin_level(level, 0, 0)
    for timeline in WHOLE:
        recorder.record(timeline)
    aggregator.apply(Report.decode(recorder.take_report().encode()))
    assert aggregator.levels[0].length_s == 100.0
    assert recorder.pending_reports == 0
    recorder.ran_dry(0, 12 * S, is_alone=True)
    recorder.ran_dry(0, 13 * S, is_alone=True)  # of another user
    assert recorder.pending_reports == 1
    assert recorder.levels[0].phase_at(12 * S) is Phase.DRAIN
    aggregator.apply(Report.decode(recorder.take_report().encode()))
    stats = aggregator.levels[0]
    assert (stats.sessions.ran_dry_s, stats.length_s, stats.load_s) == (12.0, 12.0, 12.0)
    aggregator.end_level(14.0)
    assert stats.complete


def test_the_master_ends_a_level_of_several_workers() -> None:
    level = make_level(level_time_s=100.0)
    recorder, aggregator = Recorder(0), Aggregator(Objectives.parse(""))
    aggregator.begin_level(level, 0.0)
    recorder.begin_level(level, 0, 0)
    recorder.ran_dry(0, 12 * S, is_alone=False)
    assert recorder.levels[0].phase_at(13 * S) is Phase.HOLD  # users that hold sessions go on
    aggregator.apply(Report.decode(recorder.take_report().encode()))
    stats = aggregator.levels[0]
    assert (stats.sessions.is_dry, stats.length_s) == (True, 100.0)
    stats.sessions.end_dry(13.5)
    stats.sessions.end_dry(14.5)
    assert stats.length_s == 13.5


def test_sessions_of_a_row_that_was_sent_before_are_counted() -> None:
    rows = [turn(name, 1, 3.0, turns=1, prompt_id=row) for name, row in (("a", "1"), ("b", "2"), ("c", "1"))]
    level = summed_up(aggregated(rows))
    assert level.sessions is not None and level.sessions.repeated == 1
    assert any("1 of 3 sessions repeat a row of --prompts" in note for note in session_notes([level]))
