"""What the first interrupt of a headless run announces."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tokenswarm.command_line.exit_codes import INTERRUPTED_EARLY
from tokenswarm.run_control.endings import Endings


def interrupted(stop_timeout: float, run_began: bool) -> list[str]:
    """What is ended by a first interrupt while the shape runs."""
    ended: list[str] = []
    endings = Endings()
    runner: Any = SimpleNamespace(
        environment=SimpleNamespace(parsed_options=SimpleNamespace(stop_timeout=stop_timeout)),
        shape_greenlet=SimpleNamespace(kill=lambda **_: ended.append("shape")),
    )
    endings._runner, endings._headless, endings.run_began = runner, True, run_began
    endings._interrupted(1)
    return ended


@pytest.mark.parametrize(("stop_timeout", "offers_another"), [(0.0, False), (5.0, True)])
def test_another_interrupt_is_offered_only_where_requests_still_run(
    stop_timeout: float, offers_another: bool, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("INFO")
    assert interrupted(stop_timeout, run_began=True) == ["shape"]
    (line,) = caplog.messages
    assert ("Ctrl-C again" in line) == offers_another
    assert INTERRUPTED_EARLY not in capsys.readouterr().err


def test_an_interrupt_of_the_self_check_announces_no_results(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("INFO")
    assert interrupted(0.0, run_began=False) == ["shape"]
    assert (caplog.messages, capsys.readouterr().err) == ([], f"{INTERRUPTED_EARLY}\n")
