"""Why a run has failed: requests that are missing, workers that were lost, a server that never answered. Pure."""

from __future__ import annotations

from collections import Counter

from tokenswarm.metrics.level import Scope
from tokenswarm.metrics.plurals import counted
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.recording.active_run import ActiveRun, LostWorker
from tokenswarm.recording.aggregator import plan_done


def defect_of(run: ActiveRun) -> str | None:
    """Why the run's results are unreliable whatever its figures; None where there is no such reason."""
    accounting = run.accounting
    if not accounting.recorded:
        return f"no request was recorded: {_why_none(run)}"
    if run.lost:
        return "; ".join(_loss(run, worker) for worker in run.lost)
    if not accounting.complete:
        return (
            f"requests unaccounted for: {accounting.ended} ended on workers and {run.aggregator.in_flight} were in "
            f"flight by the latest reports; {accounting.recorded} are in the histograms, {accounting.rows} are rows"
        )
    return _unanswered(run)


def _why_none(run: ActiveRun) -> str:
    """Why no request was recorded."""
    aggregator = run.aggregator
    if (errors := aggregator.task_errors).missing_load:
        return str(errors)
    if why := aggregator.why_no_streaming_users:
        return f"{why[0].lower()}{why[1:]}"
    if any(level.level.own_users for level in aggregator.levels.values()):
        return (
            "no task that ran called stream(), or the locustfile caught what it raised, or no user of a class derived "
            "from StreamingUser ran (docs/python-api.md)"
        )
    return (
        "none was sent before the run was over; give a longer --level-time (or -t), or stop other programs on this "
        "machine"
    )


def _unanswered(run: ActiveRun) -> str | None:
    """The reason, where no request was answered. An interrupted run may have ended before its first response."""
    outcomes = sum((level.scopes[Scope.WHOLE].outcomes for level in run.aggregator.levels.values()), Counter[str]())
    if outcomes[Outcome.OK] or not (plan_done(run.aggregator) or run.aggregator.failures):
        return None
    ended = ", ".join(f"{number:,} {outcome}" for outcome, number in outcomes.most_common())
    if refused := outcomes[Outcome.WRONG_ANSWER]:
        every = "every answer" if refused == outcomes.total() else "every answer that came"
        return f"the locustfile's check refused {every} ({ended})"
    return f"no request was answered ({ended})"


def _loss(run: ActiveRun, member: LostWorker) -> str:
    recovered = run.recovered.get(member.index)
    known = run.aggregator.workers.get(member.index)
    in_flight = known.in_flight if known else 0
    heartbeat_s = member.last_heartbeat_s - run.began_ns / 1e9
    text = (
        f"worker {member.index} ({member.name}) was lost: its last heartbeat was received {heartbeat_s:.1f} s into the "
        "run, "
    )
    if recovered is not None:
        return text + (
            f"with {counted(recovered.unended, 'request')} in flight; {recovered.requests:,} that had ended and not "
            "been reported recovered from its spool"
        )
    return (
        text
        + f"with {counted(in_flight, 'request')} in flight by its last report; what it sent after that is not known"
    )
