"""What `tokenswarm recover` draws once a folder is complete."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

import pytest

import tokenswarm.reports.recover_command
from tests.reports.folders import Course, write_folder
from tokenswarm.recording.recovery import Recovery


@pytest.mark.slow
@pytest.mark.parametrize("option", ["fail_if", "pass_if"])
def test_the_page_of_a_recovered_run_holds_it_against_its_own_conditions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    condition = {"fail_if": "rate < 123456", "pass_if": "rate >= 123456"}[option]
    folder = write_folder(tmp_path / "run", (Course(),), 1, run={"options": {option: condition}})
    monkeypatch.setattr(tokenswarm.reports.recover_command, "recover", lambda results, _: Recovery(results, requests=1))
    parser = ArgumentParser()
    tokenswarm.reports.recover_command.add_arguments(parser)
    assert tokenswarm.reports.recover_command.main(parser.parse_args([str(folder)])) == 0
    assert "123456" in (folder / "report.html").read_text(encoding="utf-8").split("The same again")[0]


@pytest.mark.parametrize("status", ["finished", "recovered"])
def test_a_folder_without_a_spool_is_said_to_be_recovered_only_if_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    states = {"run": {"status": status}, "summary": {"status": status}}
    folder = write_folder(tmp_path / "run", (Course(),), 1, **states)
    done = Recovery(folder, done=True)
    monkeypatch.setattr(tokenswarm.reports.recover_command, "recover", lambda *_: done)
    parser = ArgumentParser()
    tokenswarm.reports.recover_command.add_arguments(parser)
    assert tokenswarm.reports.recover_command.main(parser.parse_args([str(folder)])) == 0
    assert ("recovered before" in capsys.readouterr().out) == (status == "recovered")
