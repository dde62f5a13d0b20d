"""Every file that a command writes is named in its output, whatever else it prints."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from types import ModuleType

import pytest

import tokenswarm.reports.compare.compare_command
import tokenswarm.reports.compare.gate_command
import tokenswarm.reports.report_command
from tests.reports.folders import Course, write_folder


def output_of(command: ModuleType, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> list[str]:
    parser = ArgumentParser()
    command.add_arguments(parser)
    command.main(parser.parse_args(list(map(str, arguments))))
    return capsys.readouterr().out.splitlines()


@pytest.mark.slow
def test_every_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = (write_folder(tmp_path / name, (Course(),), seed) for seed, name in enumerate(("one", "two")))
    junit, markdown, page, table, charts, parquet, hlog = (
        tmp_path / name for name in ("j.xml", "m.md", "p.html", "t.csv", "charts", "r.parquet", "l.hlog")
    )
    judged = ("--junit", junit, "--markdown", markdown)

    lines = output_of(
        tokenswarm.reports.compare.gate_command, capsys, one, two, "--fail-if", "p50(ttft) > +50%", *judged
    )
    assert {f"JUnit: {junit}", f"Markdown: {markdown}"} <= {*lines}
    lines = output_of(
        *(tokenswarm.reports.report_command, capsys, one),
        *("--fail-if", "p50(ttft) > 5s", *judged, "--parquet", parquet, "--hlog", hlog),
    )
    assert {f"JUnit: {junit}", f"Markdown: {markdown}", f"Parquet: {parquet}", f"HdrHistogram log: {hlog}"} <= {*lines}
    assert {f"Page: {one / 'report.html'}", f"Chart: {one / 'charts' / 'ttft.png'}"} <= {*lines}
    files = ("--html", page, "--markdown", markdown, "--csv", table, "--png", charts)
    lines = output_of(
        tokenswarm.reports.compare.compare_command, capsys, one, two, "--label", "a", "--label", "b", *files
    )
    assert {f"Page: {page}", f"Markdown: {markdown}", f"CSV: {table}", f"Chart: {charts / 'ttft.png'}"} <= {*lines}
