"""The end of a run's folder: written in full, on a full disk too, and its spool removed."""

from __future__ import annotations

import errno
import shutil
from datetime import UTC, datetime

from tokenswarm.metrics.hardware import hardware_of
from tokenswarm.recording.active_run import ActiveRun
from tokenswarm.recording.aggregator import LevelStats, measured_levels
from tokenswarm.recording.core_hints import hints
from tokenswarm.recording.hardware_figures import with_hardware
from tokenswarm.recording.summary import capacities, level_summary, warm_up_summaries, worker_summaries
from tokenswarm.recording.validity import run_validity
from tokenswarm.run_folder.schema import FORMAT, Status, Summary

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def close_run(run: ActiveRun, status: Status, defect: str | None, ended: datetime | None = None) -> None:
    """Write what is left to write; the folder is then complete. ended: when the run did, by default now."""
    aggregator, journal = run.aggregator, run.journal
    aggregator.close(run.now_s)
    journal.flush()
    journal.write_windows(aggregator, run.now_s)
    summary = summary_of(run, status, defect)
    journal.write_summary(summary, aggregator)
    journal.write_run(run.document(status, ended or datetime.now(UTC), summary.validity))
    journal.close()


def summary_of(run: ActiveRun, status: Status, defect: str | None) -> Summary:
    """All figures of the run. status, defect: how it ended, and why it failed."""
    aggregator = run.aggregator
    levels = [
        level_summary(
            level, run.now_s, aggregator.objectives, run.server, aggregator.concurrency(level), aggregator.mix
        )
        for level in _levels(run)
    ]
    hardware = hardware_of(run.facts.options)
    return Summary(
        format=FORMAT,
        status=status,
        engine=run.facts.engine,
        model=run.facts.model,
        host=run.facts.host,
        validity=run_validity(aggregator, run.server, defect, recovered=status is Status.RECOVERED),
        accounting=run.accounting,
        objectives=aggregator.objectives.bounds,
        objective_share=aggregator.objectives.share,
        capacity=tuple(capacities(levels)),
        levels=with_hardware(levels, hardware),
        workers=tuple(worker_summaries(aggregator)),
        hints=tuple(hints(aggregator).values()),
        events=tuple(run.events),
        prompts=aggregator.prompts.stats.figures(),
        warm_ups=warm_up_summaries(aggregator, run.now_s),
        capacity_search=run.capacity.figures(aggregator) if run.capacity else run.capacity_noted,
        hardware=hardware,
    )


def _levels(run: ActiveRun) -> list[LevelStats]:
    """Those that have figures; of a run that ended in its first warm-up the level behind that, which never began."""
    measured = list(measured_levels(run.aggregator).values())
    if measured or not run.aggregator.levels:
        return measured
    return [LevelStats(level, run.now_s) for level in run.facts.plan if not level.warm_up][:1]


def close_with_reserve(run: ActiveRun, defect: str) -> None:
    """The same for a failed run, on a full disk or in a folder that was removed: with the disk space that was reserved,
    then with that of the spool, whose requests are known here. Raises OSError where that is not enough; the folder then
    holds what was written before, and run.json has the status failed if that much can be written."""
    run.journal.release_reserve()
    try:
        run.journal.put_back()
        return close_run(run, Status.FAILED, defect)
    except OSError as error:
        latest = error
    if latest.errno in _DISK_FULL and run.log is not None:
        run.log.close()
        shutil.rmtree(run.log.folder, ignore_errors=True)
        try:
            return close_run(run, Status.FAILED, defect)
        except OSError as error:
            latest = error
    run.journal.mark_failed(run.document(Status.FAILED, datetime.now(UTC)))
    raise latest


def remove_spool(run: ActiveRun) -> bool:
    """Remove the spool of a complete folder, unless requests of a lost worker are missing. Returns whether none is
    kept."""
    if run.log is None:
        return True
    run.log.close()
    if not all(member.index in run.recovered for member in run.lost):
        return False
    shutil.rmtree(run.log.folder, ignore_errors=True)
    return True
