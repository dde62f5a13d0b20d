"""What a page is told, poll by poll."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from metrics.ledger import Ledger
from metrics.objectives import Objectives
from metrics.prometheus import LiveRun
from metrics.run import RunFacts
from metrics.stage import Stage
from page.live import LiveView, progress

PLAN = [Stage(0, "off", "10", 10, 2.0, 12.0), Stage(1, "off", "50", 50, 2.0, 12.0)]


@pytest.fixture
def live(tmp_path: Path) -> LiveRun:
    run = LiveRun()
    run.ledger = Ledger(Objectives())
    run.ledger.begin_stage(PLAN[0], 0.0)
    run.facts = RunFacts("http://gpu", "vllm", "llama", "ladder", PLAN, {"prompts": "sample"}, {})
    run.folder = tmp_path / "20260701-a"
    run.now_s = lambda: 7.0
    return run


def test_before_any_run_there_is_none() -> None:
    assert LiveView(LiveRun()).document("", 0)["run"] is None


def test_a_page_that_knows_another_run_is_told_all(live: LiveRun) -> None:
    view = LiveView(live, lambda: 0.0)
    first = view.document("", 0)
    assert [point[0] for point in first["points"]] == [0, 1]
    assert view.document("20260701-a", first["revision"])["points"] == []
    assert len(view.document("20260630-z", first["revision"])["points"]) == 2
    msgspec.json.encode(first)


def test_levels_are_over_running_or_planned(live: LiveRun) -> None:
    assert live.ledger is not None
    view = LiveView(live, lambda: 0.0)
    assert [row.state for row in view.document("", 0)["levels"]] == ["running", "planned"]
    live.ledger.begin_stage(PLAN[1], 15.0)
    assert [row.state for row in view.document("", 0)["levels"]] == ["over", "running"]


@pytest.mark.parametrize(
    ("now_s", "phase", "phase_left_s", "left_s", "share"),
    [(1.0, "ramp", 1.0, 23.0, 1 / 24), (5.0, "hold", 7.0, 19.0, 5 / 24), (14.0, "drain", None, 12.0, 0.5)],
)
def test_where_the_plan_stands(
    live: LiveRun, now_s: float, phase: str, phase_left_s: float | None, left_s: float, share: float
) -> None:
    assert live.ledger is not None
    told = progress(PLAN, live.ledger, now_s)
    assert (told.stage, told.phase, told.phase_left_s, told.left_s) == (0, phase, phase_left_s, left_s)
    assert told.share == pytest.approx(share)


def test_an_open_end_has_no_time_left() -> None:
    ledger = Ledger(Objectives())
    endless = Stage(0, "off", "10", 10, 2.0, None)
    ledger.begin_stage(endless, 0.0)
    told = progress([endless], ledger, 5.0)
    assert (told.left_s, told.share, told.phase) == (None, None, "hold")
