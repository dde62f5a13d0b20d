"""What the log says of a run's prompts before it: rows that are left out, lengths that are caps alone, bursts."""

from __future__ import annotations

import logging

from tokenswarm.client.request_options import ChatOptions, engine_of
from tokenswarm.client.workload import RunPrompts
from tokenswarm.command_line import timespan_text
from tokenswarm.metrics.trace_replay import TraceSpread
from tokenswarm.prompts import SHIPPED_SOURCES, PromptSet
from tokenswarm.prompts.synthetic.length_notation import OUTPUT_OPTION
from tokenswarm.prompts.traces.trace_records import TRACE
from tokenswarm.prompts.traces.trace_source import TraceSource

#: With more requests than this that share a timestamp, the load is one of bursts.
_MOST_SHARED = 0.2

logger = logging.getLogger(__name__)


def log_prompts(prompts: RunPrompts, options: ChatOptions) -> None:
    """A warning where rows of the user's own source are left out, where output lengths are caps alone, and where the
    requests of a trace come in bursts."""
    engine = engine_of(options)
    if options.states_output and not engine.honours_ignore_eos:
        logger.warning(
            "%s: %s has no way to request an exact length; answers may be shorter, as the audit will show",
            TRACE if options.trace else OUTPUT_OPTION,
            engine.name,
        )
    if isinstance(prompts, TraceSource):
        _log_replay(prompts)
    elif isinstance(prompts, PromptSet) and (notice := prompts.left_out.notice()):
        built_in = prompts.source in SHIPPED_SOURCES
        whose = "Built-in prompts" if built_in else "Prompts from"
        logger.log(logging.INFO if built_in else logging.WARNING, "%s %s: %s", whose, prompts.source, notice)


def _log_replay(source: TraceSource) -> None:
    plan, trace, path = source.plan, source.plan.trace, source.replay.path
    logger.info(
        "%s %s: %s of %s rows (%s) are replayed within %s, %.3g times as fast as recorded",
        *(TRACE, path, f"{len(plan):,}", f"{trace.rows:,}", trace.format, timespan_text(plan.duration_s), plan.speed),
    )
    if trace.skipped:
        why = ", ".join(f"{count:,} {reason}" for reason, count in trace.skipped.items())
        logger.warning("%s %s: rows are left out: %s", TRACE, path, why)
    shared = plan.shared_timestamps
    if trace.has_times and shared.share > _MOST_SHARED and source.replay.spread is TraceSpread.OFF:
        logger.warning(
            "%s %s: %s of %s requests share their timestamp with others, %.1f in the mean, and are sent in bursts, "
            "every %s or later; that may be the recorder's doing. Give --trace-spread poisson to spread them",
            *(TRACE, path, f"{round(shared.share * len(plan)):,}", f"{len(plan):,}", shared.together),
            timespan_text(shared.tick_s / plan.speed),
        )
