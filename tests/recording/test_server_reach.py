"""A level at whose end the server was gone; one connection that failed is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tests.run_fixtures import issues_of, kinds_of
from tokenswarm.metrics.level import Level
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.server_samples import ServerSample, ServerSamples
from tokenswarm.run_folder.schema import IssueKind, ValidityIssue

MakeTimeline = Callable[..., Timeline]
Books = Callable[..., Aggregator]
Ended = tuple[float, Outcome]
OK, REFUSED, TRUNCATED, HTTP_ERROR = Outcome.OK, Outcome.REFUSED, Outcome.TRUNCATED, Outcome.HTTP_ERROR


@pytest.fixture
def unreachable(timeline: MakeTimeline, books: Books) -> Callable[..., list[ValidityIssue]]:
    """The issues of a level of this many users whose requests ended so: (when, how), each half a second long."""

    def issues(
        users: int, ended: Sequence[Ended], server: ServerSamples | None = None, **level: object
    ) -> list[ValidityIssue]:
        timelines = [
            timeline(
                [over_s] if outcome is OK else [],
                sent_s=over_s - 0.5,
                over_s=over_s,
                outcome=outcome,
                headers_ns=None if outcome is REFUSED else round((over_s - 0.4) * 1e9),
            )
            for over_s, outcome in ended
        ]
        planned = Level(0, "off", str(users), users, **{"ramp_s": 2.0, "level_time_s": 12.0} | level)  # type: ignore[arg-type]
        aggregator = books(timelines, level=planned)
        aggregator.close(12.0)
        return [issue for issue in issues_of(aggregator, server) if issue.kind == IssueKind.SERVER_UNREACHABLE]

    return issues


SOUND = [(3.0, OK), (4.0, OK)]


def test_a_server_that_is_gone_to_the_end_of_a_level_is_an_issue_with_time_and_counts(
    unreachable: Callable[..., list[ValidityIssue]],
) -> None:
    gone = [(8.0, TRUNCATED), (8.1, TRUNCATED), (9.0, REFUSED), (9.1, REFUSED), (10.0, REFUSED)]
    (issue,) = unreachable(2, [*SOUND, *gone])
    assert issue.values == {"from_s": 8.0, "failed": 5, "refused": 3, "requests": 7}
    (reported_in_another_order,) = unreachable(2, [*reversed(gone), *SOUND])
    assert reported_in_another_order == issue
    (from_the_start,) = unreachable(2, gone)
    assert from_the_start.values == {"from_s": 8.0, "failed": 5, "refused": 3, "requests": 5}
    (users_with_long_pauses,) = unreachable(100, [*SOUND, (4.5, REFUSED), (10.5, REFUSED)])
    assert users_with_long_pauses.values["failed"] == 2


@pytest.mark.parametrize(
    ("users", "ended"),
    [
        (1, [*SOUND, (9.0, REFUSED)]),
        (10, [*SOUND, (9.0, REFUSED), (9.5, REFUSED)]),  # of two of ten users
        (2, [*SOUND, (8.0, REFUSED), (8.1, REFUSED), (9.0, REFUSED), (9.5, OK)]),
        (2, [*SOUND, (8.0, REFUSED), (8.1, REFUSED), (9.0, REFUSED), (9.5, HTTP_ERROR)]),
        (2, [(second + 0.5, TRUNCATED) for second in range(3, 11)]),  # it answers, and breaks each stream
        (2, SOUND),
    ],
    ids=["one connection", "some users", "back again", "an error is an answer", "broken streams", "sound"],
)
def test_connections_that_fail_while_the_server_answers_others_are_none(
    unreachable: Callable[..., list[ValidityIssue]], users: int, ended: Sequence[Ended]
) -> None:
    assert unreachable(users, ended) == []


def looks(*looks: tuple[float, bool]) -> ServerSamples:
    """At the server's metrics: (when, whether they could be read)."""
    samples = ServerSamples()
    for time_s, read in looks:
        values = {"requests_running": 2.0} if read else {}
        samples.add(ServerSample(time_s, 0, values), failures=0 if read else 1)
    return samples


CUT_OFF = [*SOUND, (11.5, TRUNCATED), (11.5, TRUNCATED)]


def test_a_server_that_is_gone_just_before_the_level_is_over_is_known_by_its_metrics(
    unreachable: Callable[..., list[ValidityIssue]],
) -> None:
    (issue,) = unreachable(2, CUT_OFF, looks((10.0, True), (12.1, False)))
    assert issue.values == {"from_s": 11.5, "failed": 2, "refused": 0, "requests": 4}


@pytest.mark.parametrize(
    ("users", "server"),
    [
        (2, looks((10.0, True))),
        (2, looks((10.0, True), (12.1, True))),
        (2, looks((10.0, False), (12.1, False))),
        (2, looks((10.0, True), (11.0, False))),
        (2, looks((10.0, True), (11.7, False), (12.1, True))),
        (3, looks((10.0, True), (12.1, False))),
    ],
    ids=["not seen since", "it is there", "never read", "too busy before", "read again", "a user was answered"],
)
def test_streams_that_are_cut_off_at_the_end_are_none_without_another_sign(
    unreachable: Callable[..., list[ValidityIssue]], users: int, server: ServerSamples
) -> None:
    assert unreachable(users, CUT_OFF, server) == []


def test_a_level_is_judged_when_all_workers_have_reported(timeline: MakeTimeline, books: Books) -> None:
    refused = [timeline([], sent_s=3.0 + n, over_s=3.0 + n, outcome=REFUSED, headers_ns=None) for n in range(6)]
    aggregator = books(refused, level=Level(0, "off", "2", 2, 2.0, 12.0))
    assert IssueKind.SERVER_UNREACHABLE not in kinds_of(aggregator)  # reports of other workers are to come
    aggregator.close(12.0)
    assert IssueKind.SERVER_UNREACHABLE in kinds_of(aggregator)
