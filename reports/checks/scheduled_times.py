"""Whether conditions and objectives are of times from when requests were due, which an open loop alone has."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tokenswarm.command_line import collect_errors
from tokenswarm.reports.checks.conditions import SCHEDULED, Condition
from tokenswarm.run_folder.reader import ReportError


def check_scheduled(conditions: Sequence[Condition], bounds: Collection[str], *, open_loop: bool) -> None:
    """bounds: the names of the objectives' figures, like `ttft_s`; open_loop: whether requests have times that they
    are due at. Raises ReportError, OptionErrors, for each that is of such times in a closed loop."""
    if open_loop:
        return
    with collect_errors() as errors:
        for condition in conditions:
            if condition.figure is not None and condition.figure.name in SCHEDULED:
                option = "--pass-if" if condition.pass_if else "--fail-if"
                errors.add(_without_schedule(f"{option}: {condition.text!r}", condition.figure.name))
        for bound in bounds:
            if (name := bound.removesuffix("_s")) in SCHEDULED:
                errors.add(_without_schedule("--slo", name))


def _without_schedule(where: str, name: str) -> ReportError:
    plain = name.removesuffix("_scheduled")
    return ReportError(
        f"{where}: {name} is of an open loop; users of a closed loop send when they are ready, so that it is the same "
        f"as {plain}: write {plain}."
    )
