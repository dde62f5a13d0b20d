"""Whether requests failed without a connection: at a limit of the client's machine, or as the server was gone."""

from __future__ import annotations

from collections.abc import Iterator

from tokenswarm.metrics.level import Scope
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.recording.aggregator import Aggregator, LevelStats
from tokenswarm.recording.lump_issues import WHOLE_LEVEL
from tokenswarm.recording.server_samples import ServerSamples
from tokenswarm.run_folder.schema import WINDOW_S, IssueKind, ValidityIssue

#: One connection that fails, or is broken, is no sign that the server is gone.
_FEWEST_FAILED = 2


def connection_issues(aggregator: Aggregator, level: LevelStats, server: ServerSamples) -> Iterator[ValidityIssue]:
    """What is to be said of a level's connections, with the numbers of its requests."""
    whole = level.scopes[Scope.WHOLE]
    if failed := whole.outcomes[Outcome.CLIENT_LIMIT]:
        yield ValidityIssue(
            kind=IssueKind.CLIENT_LIMIT,
            message=f"{failed:,} of {whole.requests:,} requests ({WHOLE_LEVEL}) failed at a limit of the client's "
            "machine (client_limit in requests.csv names it): the load was lower than requested",
            values={"failed": failed, "requests": whole.requests},
        )
    if level.ended_s is not None and level.ended_s <= aggregator.reported_until_s:
        yield from _unreachable_issues(level, whole.requests, server.unread_s.get(level.level.index))


def _unreachable_issues(level: LevelStats, requests: int, unread_s: float | None) -> Iterator[ValidityIssue]:
    """Whether the level ends with requests of all users, or of a longer time, that the server did not answer, and had
    no connection for. Where the level was over before users sent again, the server's metrics say whether it was there.
    Known when the level is over: until then, others may have been answered. unread_s: since when these could not be
    read, in seconds of the run; None where they were read to the end, or never."""
    found, users = level.reach.unreached, level.level.users
    if found is None or found.failed < _FEWEST_FAILED:
        return
    if found.refused:
        if found.failed < users and found.until_s - found.from_s < WINDOW_S:
            return
        sign = f"failed, {found.refused:,} of them without a connection"
    elif users and found.failed >= users and unread_s is not None and unread_s >= found.from_s:
        sign = "were cut off, and its metrics could not be read after that"
    else:
        return
    yield ValidityIssue(
        kind=IssueKind.SERVER_UNREACHABLE,
        message=f"the server could not be reached from {found.from_s:.1f} s of the run to the level's end: the last "
        f"{found.failed:,} of {requests:,} requests ({WHOLE_LEVEL}) {sign}; see the server's log, and repeat the run",
        values={
            "from_s": found.from_s,
            "failed": found.failed,
            "refused": found.refused,
            "requests": requests,
        },
    )
