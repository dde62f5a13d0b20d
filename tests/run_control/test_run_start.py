"""What a start says that does not become a run."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from tokenswarm.command_line import OptionErrors
from tokenswarm.run_control.run_start import RunStart


@pytest.mark.parametrize(
    ("autostart", "level", "exit_code"),
    [(False, logging.WARNING, None), (True, logging.ERROR, 2)],
    ids=["a page that serves on", "--autostart"],
)
def test_each_error_of_a_start_is_a_line_of_its_own_in_the_log(
    caplog: pytest.LogCaptureFixture, autostart: bool, level: int, exit_code: int | None
) -> None:
    recording = Mock()
    start = RunStart(recording, Mock(), Mock())
    start._page = Mock()
    options = SimpleNamespace(headless=False, autostart=autostart)
    environment: Any = SimpleNamespace(parsed_options=options, shape_class=None, runner=None, process_exit_code=None)
    with caplog.at_level(logging.WARNING, logger="tokenswarm"):
        start.refuse(environment, OptionErrors(["--levels is wrong.", "--ramp is wrong."]))
    assert caplog.messages == ["Run not started: --levels is wrong.", "Run not started: --ramp is wrong."]
    assert {record.levelno for record in caplog.records} == {level}
    assert environment.process_exit_code == exit_code
    recording.refuse_run.assert_called_once()
