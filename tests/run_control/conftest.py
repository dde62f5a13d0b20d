"""Fixtures of a run's records, and a recorder whose clocks and greenlets are stand-ins."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.run_control.recording_bench import Bench, Greenlets, stand_ins
from tests.run_fixtures import (  # noqa: F401
    a_level,
    books,
    lower_edge,
    report,
    row,
    temporary_folder_of_its_own,
    the_test_runner_keeps_its_signal_handlers,
    timeline,
)


@pytest.fixture
def greenlets(monkeypatch: pytest.MonkeyPatch) -> Greenlets:
    return stand_ins(monkeypatch)


@pytest.fixture
def bench(tmp_path: Path, greenlets: Greenlets) -> Iterator[Bench]:
    bench = Bench(tmp_path / "results", greenlets)
    yield bench
    bench.runner.quit()
