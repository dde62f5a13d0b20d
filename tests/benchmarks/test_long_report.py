"""The made-up run of the benchmark of long reports is one that reports can read."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.long_report import compare, gate, write_run
from tokenswarm.run_folder.exports import write_parquet
from tokenswarm.run_folder.reader import load_results


@pytest.mark.slow
def test_it_can_be_exported_judged_and_compared(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_run(folder, 900)
    assert write_parquet(load_results(folder), tmp_path / "requests.parquet") == 900
    gate(folder)
    compare(folder)
