"""Another client's load on the same server: the server's counts of a hold against the run's, from made-up samples."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.run_fixtures import issues_of, make_books, make_level
from tokenswarm.metrics.level import Arrivals
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.metrics.token_counts import TokenSource
from tokenswarm.recording.aggregator import Aggregator, LevelStats
from tokenswarm.recording.server_samples import ServerSample, ServerSamples
from tokenswarm.recording.validity import run_validity
from tokenswarm.run_folder.schema import IssueKind

MakeTimeline = Callable[..., Timeline]


@pytest.fixture
def one_user(timeline: MakeTimeline) -> Aggregator:
    """Ramp to 2 s, hold to 32 s: a request each second, of four tokens each; 4 tokens/s."""
    timelines = [
        timeline([start + 0.1, start + 0.3, start + 0.5, start + 0.7], sent_s=float(start)) for start in range(2, 32)
    ]
    return ended(timelines)


def ended(timelines: list[Timeline]) -> Aggregator:
    """A run of one user whose reports have all come."""
    books = make_books(timelines, level=make_level(users=1, level_time_s=32.0))
    books.close(32.0)
    return books


def server(running: float, tokens_per_s: float, requests_per_s: float, until_s: float = 33.0) -> ServerSamples:
    """Samples each five seconds from the hold's beginning on."""
    samples = ServerSamples()
    for time_s in [2.1, 7.1, 12.1, 17.1, 22.1, 27.1, 32.1]:
        if time_s < until_s:
            values = {
                "requests_running": running,
                "output_tokens_total": 1000 + tokens_per_s * time_s,
                "ttft_seconds_count": 50 + requests_per_s * time_s,
            }
            samples.add(ServerSample(time_s, 0, values), 0)
    return samples


def test_a_server_that_did_what_this_run_sent_is_no_issue(one_user: Aggregator) -> None:
    assert issues_of(one_user, server(1, 4.0, 1.0)) == []
    assert issues_of(one_user) == []  # it reports no metrics
    # Requests at the edges of the hold, and another way to count: a tenth more.
    assert issues_of(one_user, server(1, 4.4, 1.1)) == []


@pytest.mark.parametrize(
    ("running", "tokens_per_s", "requests_per_s"), [(3, 4.0, 1.0), (1, 12.0, 1.0), (1, 4.0, 3.0), (3, 12.0, 3.0)]
)
def test_a_server_that_did_clearly_more_has_another_client(
    running: float, tokens_per_s: float, requests_per_s: float, one_user: Aggregator
) -> None:
    (issue,) = issues_of(one_user, server(running, tokens_per_s, requests_per_s))
    assert (issue.kind, issue.level) == (IssueKind.OTHER_LOAD, 0)
    assert issue.values == {
        "server_requests_running": running,
        "run_requests_running": 1,
        "server_output_tokens_per_s": pytest.approx(tokens_per_s),
        "run_output_tokens_per_s": pytest.approx(4.0),
        "server_requests_per_s": pytest.approx(requests_per_s),
        "run_requests_per_s": pytest.approx(1.0),
    }
    assert "cancelled" not in issue.message


def test_requests_in_flight_between_two_windows_are_this_runs(timeline: MakeTimeline) -> None:
    """Two at once in most of each window, and none at its end."""
    level = make_level(users=0, level_time_s=32.0, arrivals=Arrivals("constant", ((0.0, 0.4),), 0.4))
    sent_s = [start + late_s for start in range(0, 30, 5) for late_s in (0.1, 0.2)]
    books = make_books([timeline([sent + 0.5, sent + 4.0], sent_s=sent) for sent in sent_s], level=level)
    books.close(32.0)
    assert issues_of(books, server(2, 0.8, 0.4)) == []
    assert [issue.kind for issue in issues_of(books, server(9, 0.8, 0.4))] == [IssueKind.OTHER_LOAD]


def test_users_of_an_own_shape_are_counted_where_no_window_ends_with_them(timeline: MakeTimeline) -> None:
    """A level that is over before the first window is."""
    level = make_level(users=0, ramp_s=0.0, level_time_s=4.0, own_shape=True)
    timelines = [timeline([start + 0.1, start + 0.9], sent_s=float(start)) for start in (0, 0, 1, 1, 2, 2, 3, 3)]
    books = make_books(timelines, level=level)
    books.levels[0].user_seconds = dict.fromkeys(range(4), 2.0)
    books.close(4.0)
    samples = ServerSamples()
    for time_s in (0.5, 1.5, 2.5, 3.5):
        samples.add(ServerSample(time_s, 0, {"requests_running": 2.0}), 0)
    assert issues_of(books, samples) == []


def test_a_level_that_runs_is_not_judged_as_its_tokens_are_not_known_yet(one_user: Aggregator) -> None:
    one_user.levels[0].ended_s = None
    assert issues_of(one_user, server(3, 12.0, 3.0)) == []


@pytest.mark.parametrize("level_time_s", [5.0, 8.0, 12.0, 17.0, 32.0])
def test_another_client_is_found_in_a_short_hold_too(level_time_s: float, timeline: MakeTimeline) -> None:
    """Ramp to 2 s. The server runs three requests, of which this run sent one; it is read whenever that is due."""
    level = make_level(users=1, level_time_s=level_time_s)
    books = make_books([timeline((3.1, 4.4), sent_s=3.0, source=TokenSource.EVENTS)], level=level)
    books.close(level_time_s)
    running, samples = LevelStats(level, 0.0), ServerSamples()
    for fifth in range(int(5 * level_time_s) + 1):
        if samples.is_due(running, now_s := fifth / 5):
            samples.tried(now_s)
            samples.add(ServerSample(now_s + 0.05, 0, {"requests_running": 3.0}), 0)
    (issue,) = [issue for issue in issues_of(books, samples) if issue.kind == IssueKind.OTHER_LOAD]
    assert issue.values == {"server_requests_running": 3.0, "run_requests_running": 1.0}


def test_two_samples_are_too_few_for_a_gauge(one_user: Aggregator) -> None:
    assert issues_of(one_user, server(3, 4.0, 1.0, until_s=8.0)) == []


def test_events_are_no_tokens_to_compare(timeline: MakeTimeline) -> None:
    timelines = [
        timeline((start + 0.1, start + 0.3), sent_s=float(start), source=TokenSource.EVENTS) for start in (3, 5)
    ]
    books = make_books(timelines, level=make_level(users=1, level_time_s=32.0))
    assert issues_of(books, server(1, 40.0, 1 / 15)) == []


def test_requests_that_this_run_cancelled_may_still_run(timeline: MakeTimeline) -> None:
    cancelled = timeline((3.1,), sent_s=3.0, over_s=20.0, outcome=Outcome.TIMEOUT)
    (issue,) = [issue for issue in issues_of(ended([timeline(), cancelled]), server(3, 0.3, 0.1)) if issue.level == 0]
    assert issue.kind == IssueKind.OTHER_LOAD
    assert "cancelled" in issue.message


def test_a_run_that_was_recovered_is_suspect(one_user: Aggregator) -> None:
    verdict = run_validity(one_user, ServerSamples(), "the run was recovered", recovered=True)
    assert (verdict.verdict, verdict.reasons) == ("suspect", ("the run was recovered",))


def test_the_verdict_names_the_level_and_a_failure_comes_first(one_user: Aggregator) -> None:
    verdict = run_validity(one_user, server(3, 12.0, 3.0), "no request was answered")
    assert (verdict.verdict, [issue.kind for issue in verdict.issues]) == ("failed", ["run_failed", "other_load"])
    assert verdict.reasons[0] == "no request was answered"
    assert verdict.reasons[1].startswith("1 user without system prompt: other load: the server had 3 requests at once")
