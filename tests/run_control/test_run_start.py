"""What a start says that does not become a run."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from tokenswarm.command_line import OptionErrors
from tokenswarm.run_control.run_start import RunStart


def test_each_error_of_a_start_is_a_line_of_its_own_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    recording = Mock()
    start = RunStart(recording, Mock(), Mock())
    start._page = Mock()
    environment: Any = SimpleNamespace(parsed_options=SimpleNamespace(headless=False), shape_class=None, runner=None)
    with caplog.at_level(logging.ERROR, logger="tokenswarm"):
        start.refuse(environment, OptionErrors(["--levels is wrong.", "--ramp is wrong."]))
    assert caplog.messages == ["Run not started: --levels is wrong.", "Run not started: --ramp is wrong."]
    assert environment.process_exit_code == 2
    recording.refuse_run.assert_called_once()
