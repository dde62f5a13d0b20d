"""Conditions and objectives on times from when requests were due: from a run's rows to the checks."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.reports.folders import Course, write_folder
from tests.run_fixtures import make_level, make_row
from tokenswarm.command_line import OptionErrors
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.metrics.quantiles import Quantile
from tokenswarm.recording.journal import Journal
from tokenswarm.reports.checks.check_report import CheckStatus, check_run
from tokenswarm.reports.checks.conditions import Figure, parse_conditions, parse_pass_conditions
from tokenswarm.reports.checks.scheduled_times import check_scheduled
from tokenswarm.reports.checks.slo import with_objectives
from tokenswarm.reports.stats.estimates import RunData
from tokenswarm.run_folder.csv_reader import load_requests
from tokenswarm.run_folder.reader import ReportError, Results, load_results
from tokenswarm.run_folder.schema import Distribution

LAGS_S = [0.0, 0.25, 0.5, 1.0]


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Four requests with a TTFT of 0.1 s and an E2E of 0.4 s, sent so late."""
    folder = write_folder(tmp_path / "run", [Course(10)], seed=1)
    journal = Journal(tmp_path, "written")
    rows = [make_row(scheduled_ns=round((3.0 - lag_s) * 1e9)) for lag_s in LAGS_S]
    journal.write_requests(rows, {0: make_level()})
    journal.close()
    (journal.folder / "requests.csv").replace(folder / "requests.csv")
    found = load_results(folder)
    (level,) = found.summary.levels
    scheduled = Distribution(4, 0.5375, 0.1, 1.1, Quantile(0.35, 0.1, None, False), p95=Quantile(1.1, 0.1, None, False))
    hold = msgspec.structs.replace(level.hold, ttft_scheduled_s=scheduled, e2e_scheduled_s=scheduled)
    levels = (msgspec.structs.replace(level, hold=hold),)
    return msgspec.structs.replace(found, summary=msgspec.structs.replace(found.summary, levels=levels))


def test_rows_have_the_times_from_when_they_were_due(results: Results) -> None:
    figures = load_requests(results, ["ttft_scheduled", "e2e_scheduled"]).figures
    assert sorted(figures["ttft_scheduled"]) == pytest.approx([0.1 + lag_s for lag_s in LAGS_S])
    assert sorted(figures["e2e_scheduled"]) == pytest.approx([0.4 + lag_s for lag_s in LAGS_S])


def test_a_condition_chooses_the_time_that_it_is_of(results: Results) -> None:
    text = "p95(ttft_scheduled) > 1s, p95(ttft_scheduled) > 2s, e2e_scheduled_p50 > 300ms"
    checks = check_run(parse_conditions(text), results).check_results
    assert [check.status for check in checks] == [CheckStatus.FAIL, CheckStatus.PASS, CheckStatus.FAIL]


def test_its_interval_is_from_the_same_rows(results: Results) -> None:
    estimate = RunData(results).estimate(results.summary.levels[0], Figure("ttft_scheduled", "mean"))
    assert estimate is not None and estimate.value == 0.5375
    assert estimate.count == 4


@pytest.mark.parametrize(("slo", "good"), [("ttft_scheduled=400ms", 2), ("e2e_scheduled=1s", 3), ("ttft=400ms", 4)])
def test_a_report_s_objectives_choose_too(results: Results, slo: str, good: int) -> None:
    (level,) = with_objectives(results, Objectives.parse(slo)).summary.levels
    assert level.hold.goodput is not None
    assert level.hold.goodput.fraction == good / 4


def test_a_closed_loop_has_no_such_times() -> None:
    conditions = [*parse_conditions("p95(ttft_scheduled) > 1s"), *parse_pass_conditions("p50(e2e_scheduled) < 1s")]
    with pytest.raises(OptionErrors) as refused:
        check_scheduled(conditions, ["ttft_s", "e2e_scheduled_s"], open_loop=False)
    assert [sentence.split(":")[0] for sentence in refused.value.sentences] == ["--fail-if", "--pass-if", "--slo"]
    check_scheduled(conditions, ["e2e_scheduled_s"], open_loop=True)
    check_scheduled(parse_conditions("p95(ttft) > 1s"), ["ttft_s"], open_loop=False)
    with pytest.raises(ReportError):
        check_scheduled([], ["ttft_scheduled_s"], open_loop=False)
