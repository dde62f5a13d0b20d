"""What a capacity search found, in one sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tokenswarm.metrics.level import users_of
from tokenswarm.reports import units
from tokenswarm.run_folder.capacity_figures import CapacityFigures, ProbeFigures
from tokenswarm.run_folder.schema import ServerFigures, Summary

_BACKLOG = "more requests arrive than are answered, and the backlog grows"
_DRIFT = "latencies rise for as long as the load lasts"
#: A share that falls so far from one load to the next is a cliff.
_CLIFF_FROM, _CLIFF_TO = 0.9, 0.5


def capacity_sentence(summary: Summary) -> str:
    """`22–23 users (95 % confidence); at 24 users TTFT p90 crosses 300 ms; KV cache 41 % full, 3 requests waiting`;
    empty for a run that does not search."""
    found = summary.capacity_search
    if found is None:
        return ""
    # What the server reported at the load that failed.
    probe = found.probe_of(found.best if found.failing is None else found.failing)
    figures = next((level.hold.server for level in summary.levels if probe and level.index == probe.index), None)
    return search_sentence(found, summary.objectives, figures)


def search_sentence(
    found: CapacityFigures,
    objectives: Mapping[str, float],
    server: ServerFigures | None = None,
    *,
    is_running: bool = False,
) -> str:
    """The same from the figures of a search. objectives: its bounds in seconds, by figure; server: its own metrics at
    the load that failed; is_running: whether the search goes on."""
    if is_running and found.conclusion == "unfinished":
        return f"so far {_bracket(found)}; {units.counted(len(found.probes), 'probe')} done"
    return "; ".join(_clauses(found, objectives, server))


def probe_sentence(probe: ProbeFigures) -> str:
    """`22 users: pass; 95.7 % of 878 judged requests met the SLO (interval 90.8–98.3 %)`."""
    verdict = f"{users_of(probe.level)}: {probe.verdict}"
    if probe.share is None or probe.share_low is None or probe.share_high is None:
        return f"{verdict}; no request was sent in its hold"
    interval = units.span(units.percentage(probe.share_low), units.percentage(probe.share_high))
    why = {"backlog": f"; {_BACKLOG}", "drift": f"; {_DRIFT}"}.get(probe.reason, "")
    requests = units.counted(probe.requests, "judged request")
    return f"{verdict}; {units.percentage(probe.share)} of {requests} met the SLO (interval {interval}){why}"


def _clauses(found: CapacityFigures, objectives: Mapping[str, float], server: ServerFigures | None) -> Iterator[str]:
    yield _result(found)
    if found.failing is not None and found.conclusion != "no_pass":
        yield f"at {_load(found, found.failing)} {_limit(found, objectives)}"
    parts = list(_server_parts(server)) if server else []
    if parts:
        yield ", ".join(parts)
    yield from _cliff(found)
    inside = [load for load in found.inconclusive if (found.best or 0.0) < load < (found.failing or found.high + 1)]
    if inside and found.conclusion != "inconclusive":
        loads = ", ".join(f"{load:g}" for load in inside)
        yield f"inconclusive at {loads}: longer probes (--level-time) may decide it"
    if found.unsteady:
        yield (
            f"the server is noisy: probes of {', '.join(f'{load:g}' for load in found.unsteady)} "
            f"{found.unit} differ by more than chance"
        )


def _result(found: CapacityFigures) -> str:
    match found.conclusion:
        case "bracket":
            return f"{_bracket(found)} (95 % confidence)"
        case "no_pass":
            return f"no load passes: with {_load(found, found.low)}, {_short_of(found)}"
        case "no_fail":
            return (
                f"at least {_load(found, found.high)} (95 % confidence): the largest load of --between passes, give a "
                "larger one to find the limit"
            )
        case "inconclusive":
            return (
                f"{_bracket(found)}: the probes were too short to decide more; give a longer --level-time"
                if found.best is not None or found.failing is not None
                else "no result: the probes were too short to decide any load; give a longer --level-time"
            )
        case _:
            return f"so far {_bracket(found)}: the search ended before this was as narrow as --precision, and confirmed"


def _bracket(found: CapacityFigures) -> str:
    if found.best is None:
        return f"less than {_load(found, found.failing)}" if found.failing is not None else "no load decided"
    if found.failing is None:
        return f"at least {_load(found, found.best)}"
    best, last = f"{found.best:g}", f"{found.failing - 1 if found.unit == 'users' else found.failing:g}"
    if best == last:
        return _load(found, found.best)
    return f"{units.span(best, last)} {found.unit}"


def _load(found: CapacityFigures, load: float) -> str:
    return users_of(f"{load:g}") if found.unit == "users" else f"{load:g} {found.unit}"


def _short_of(found: CapacityFigures) -> str:
    probe = found.probe_of(found.failing)
    if probe is not None and probe.reason:
        return _BACKLOG if probe.reason == "backlog" else _DRIFT
    share = probe.share if probe is not None else None
    return (
        f"{units.percentage(share)} of the requests are within the SLO, and {units.set_share(found.share)} are needed"
    )


def _limit(found: CapacityFigures, objectives: Mapping[str, float]) -> str:
    probe, binding = found.probe_of(found.failing), found.binding
    if binding in ("backlog", "drift"):
        return _BACKLOG if binding == "backlog" else _DRIFT
    if binding == "failures":
        return f"{units.percentage(probe.failed if probe else None)} of the requests fail"
    if binding not in objectives:
        return f"less than {units.set_share(found.share)} of the requests are within the SLO"
    figure = {"ttft_s": "TTFT", "tpot_s": "TPOT", "e2e_s": "E2E time"}.get(binding)
    figure = figure or f"{binding.removesuffix('_scheduled_s').upper()} from schedule"
    return f"{figure} p{found.share * 100:.10g} crosses {units.set_duration(objectives[binding])}"


def _server_parts(figures: ServerFigures) -> Iterator[str]:
    if figures.kv_cache_utilization_mean is not None:
        yield f"KV cache {units.percentage(figures.kv_cache_utilization_mean)} full"
    if figures.requests_waiting_mean is not None:
        yield f"{units.rate(figures.requests_waiting_mean)} requests waiting"


def _cliff(found: CapacityFigures) -> Iterator[str]:
    below, above = found.probe_of(found.best), found.probe_of(found.failing)
    if below is None or above is None or below.share is None or above.share is None:
        return
    if below.share >= _CLIFF_FROM and above.share <= _CLIFF_TO and found.conclusion == "bracket":
        yield (
            f"a cliff: the share of good requests falls from {units.percentage(below.share)} to "
            f"{units.percentage(above.share)}"
        )
