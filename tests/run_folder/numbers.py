"""All numbers that report, compare and gate take from folders, as JSON: to be equal whatever reads the folders.

`python -m tests.run_folder.numbers` writes them again to `numbers.json`; do so only where figures change on purpose.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from tokenswarm.metrics.intervals import Estimate
from tokenswarm.reports.checks.check_report import CheckResult, CheckStatus, check_run
from tokenswarm.reports.checks.conditions import LATENCIES, Figure, parse_conditions
from tokenswarm.reports.compare.comparison import RunComparison
from tokenswarm.reports.compare.gate_command import check_change
from tokenswarm.reports.html.chart_sections import gap_curves
from tokenswarm.reports.html.time_series import load_server_series, load_time_series
from tokenswarm.reports.stats.estimates import RunData
from tokenswarm.reports.stats.failures import failure_examples
from tokenswarm.run_folder.exports import write_hlog
from tokenswarm.run_folder.reader import Results, load_results
from tokenswarm.run_folder.summary_csv import summary_rows

HERE = Path(__file__).parent
NUMBERS = HERE / "numbers.json"
FORMAT_1, FORMAT_2, FORMAT_2_AGAIN = HERE / "format_1", HERE / "format_2", HERE / "format_2_again"

_CHECKS = "p95(ttft) > 27ms, tpot_p50 > 1s, failures > 0, rate < 10, goodput < 99%, suspect"
_CHANGES = "ttft_p50 > +1%, user_rate_p50 < -1%, rate < -1%, failures > +1%, e2e_p90 > +1%"
_FIGURES = [Figure(name, function) for name in (*LATENCIES, "user_rate") for function in ("p50", "p95", "mean")]
_FIGURES += [Figure(name) for name in ("rate", "request_rate", "failures", "goodput")]
#: Columns of summary.csv that say of what a row is, and no number.
_KEYS = ("stage", "level_index", "part", "scope")
#: Columns that came later; folders of before have their empty value.
_ADDED = (
    *("outcomes_refused_by_limit", "outcomes_abandoned", "outcomes_context_overflow", "outcomes_wrong_answer"),
    "requests_not_judged",
    "server_gpu_power_w_mean",
)


def numbers_of_report(folder: Path, scratch: Path) -> dict[str, Any]:
    """The numbers of `report`: the summary's, intervals, series, checks and the HdrHistogram log."""
    results = load_results(folder)
    judged = check_run(parse_conditions(_CHECKS), results)
    write_hlog(results, scratch / "hlog")
    curves, exact = gap_curves(results)
    series = load_time_series(results)
    return _rounded(
        {
            "accounting": list(_accounting(results)),
            "summary": [
                {name: value for name, value in row.items() if name not in (*_KEYS, *_ADDED)}
                for row in summary_rows(results.summary.levels)
            ],
            "estimates": _estimates(results),
            "checks": [[result.condition, _status(result)] for result in judged.check_results],
            "exit_code": judged.exit_code,
            "hlog": (scratch / "hlog").read_text().split("Legend")[-1].splitlines()[1:],
            "gap_curves": [[_of_array(side) for side in curve] for curve in curves.values()],
            "gaps_exact": exact,
            "windows": [_of_array(each) for each in (series.start_s, series.end_s, series.token_rate, series.users)],
            "server": {
                name: [_of_array(side) for side in sides] for name, sides in load_server_series(results).items()
            },
            "failures": [[example.outcome, example.sent_s] for example in failure_examples(results)],
        }
    )


def numbers_of_comparison(base: Path, new: Path) -> dict[str, Any]:
    """The numbers of `compare` and `gate`."""
    runs = [load_results(base), load_results(new)]
    comparison = RunComparison(runs, ["base", "new"])
    judged = check_change(parse_conditions(_CHANGES, relative=True), runs[:1], runs[1:])
    return _rounded(
        {
            "compare": [
                [
                    *(str(entry.compared.figure), entry.level.level, entry.level.system_prompt, entry.server.label),
                    _of_estimate(entry.pooled.estimate if entry.pooled else None),
                    _of_estimate(entry.change),
                    entry.standing.name,
                ]
                for entry in comparison.entries
            ],
            "capacity": [
                [capacity.server.label, capacity.system_prompt, capacity.level.load if capacity.level else None]
                for capacity in comparison.capacities
            ],
            "gate": [[result.condition, _status(result)] for result in judged.check_results],
            "exit_code": judged.exit_code,
        }
    )


def all_numbers(scratch: Path) -> dict[str, Any]:
    """Of every committed folder."""
    return {
        "format_1": numbers_of_report(FORMAT_1, scratch),
        "format_2": numbers_of_report(FORMAT_2, scratch),
        "format_2_compared": numbers_of_comparison(FORMAT_2, FORMAT_2_AGAIN),
    }


def _accounting(results: Results) -> tuple[object, ...]:
    accounting = results.summary.accounting
    return accounting.ended, accounting.recorded, accounting.rows, accounting.complete, accounting.unaccounted


def _estimates(results: Results) -> list[Any]:
    run = RunData(results)
    found: list[Any] = []
    for level in results.summary.levels:
        found += [[str(figure), _of_estimate(run.estimate(level, figure))] for figure in _FIGURES]
        drift, fairness = run.drift(level), run.fairness(level)
        found.append([drift.change.value if drift else None, fairness.jain_token_rate if fairness else None])
    return found


def _of_estimate(estimate: Estimate | None) -> list[float | None] | None:
    return None if estimate is None else [estimate.value, estimate.low, estimate.high, estimate.count]


def _of_array(values: np.ndarray[Any, Any]) -> list[float]:
    return [float(value) for value in values]


def _rounded(value: Any) -> Any:
    """To nine digits: what another processor's sums may differ in is left out. NaN as text, for it equals nothing."""
    if isinstance(value, dict):
        return {str(name): _rounded(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else float(f"{value:.9g}")
    return value


def _status(result: CheckResult) -> str:
    """Versions before 0.1 called it a pass where a figure of an unreliable run is within its condition."""
    return CheckStatus.PASS if result.status is CheckStatus.UNRELIABLE else result.status.value


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch_folder:
        numbers = all_numbers(Path(scratch_folder))
    lines = [f"{json.dumps(name)}: {json.dumps(of_folder)}" for name, of_folder in numbers.items()]
    NUMBERS.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
