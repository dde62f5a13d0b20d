"""Progress on a console: one line that is written again on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.golden.texts import HOLDING
from tokenswarm.metrics.level import Level
from tokenswarm.recording.progress import TimeLeft
from tokenswarm.reports.checks.run_checks import RunChecks
from tokenswarm.reports.open_page import open_page
from tokenswarm.reports.progress_line import progress_bar, progress_legend, progress_line
from tokenswarm.reports.terminal import TerminalSink

LogTo = Callable[..., logging.Logger]
_END = "\0"
FIRST = replace(HOLDING, left=TimeLeft(600.0, 0.25))
SECOND = replace(HOLDING, level_number=3, left=TimeLeft(65.0, 0.5))


class Terminal:
    """A terminal of 100 columns in place of the standard error."""

    def __init__(self) -> None:
        self._master, slave = os.openpty()
        self.stream = os.fdopen(slave, "w")

    @property
    def lines(self) -> list[str]:
        """What stands on it: `\\r` and the command to clear a line obeyed."""
        self.stream.write(_END)
        self.stream.flush()
        written = ""
        while not written.endswith(_END):  # the kernel hands it over piece by piece
            written += os.read(self._master, 100_000).decode()
        lines = [""]
        for piece in written.removesuffix(_END).replace("\r\n", "\n").split("\n"):
            lines[-1] = (lines[-1] + piece).rpartition("\r\x1b[2K")[2]
            lines.append("")
        return lines[:-1]


@pytest.fixture
def log_to(monkeypatch: pytest.MonkeyPatch) -> LogTo:
    """Have the root logger write with these handlers alone, as Locust sets it up."""

    def set_up(*handlers: logging.Handler) -> logging.Logger:
        root = logging.getLogger()
        monkeypatch.setattr(root, "handlers", list(handlers))
        for logger in (root, logging.getLogger("tokenswarm")):
            monkeypatch.setattr(logger, "level", logging.INFO)
            logger.manager._clear_cache()  # type: ignore[attr-defined]
        for handler in handlers:
            handler.setFormatter(logging.Formatter("[time] host/%(levelname)s: %(message)s"))
        return root

    return set_up


def test_a_terminal_has_one_line_that_other_lines_take_the_place_of(
    log_to: LogTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal.stream)
    log_to(logging.StreamHandler(terminal.stream))
    sink = TerminalSink(RunChecks())
    sink.progress(FIRST)
    sink.progress(SECOND)
    logging.getLogger("tokenswarm").warning("one core is not enough")
    sink.progress(FIRST)
    assert terminal.lines == ["[time] host/WARNING: one core is not enough", progress_bar(FIRST, 120)]


def test_a_terminal_explains_its_bar_and_a_log_file_its_lines(
    log_to: LogTo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    terminal, plan = Terminal(), [Level(0, "off", "50", 50, level_time_s=60.0)]
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal.stream)
    log_to(logging.StreamHandler(terminal.stream), logging.FileHandler(tmp_path / "log"))
    TerminalSink(RunChecks()).began(plan)
    assert terminal.lines[0] == progress_legend(plan, as_bar=True)
    assert (tmp_path / "log").read_text() == f"[time] host/INFO: {progress_legend(plan, as_bar=False)}\n"


def test_elsewhere_there_are_plain_lines_and_a_log_file_has_them_too(
    log_to: LogTo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    output = io.StringIO()
    monkeypatch.setattr(sys, "stderr", output)
    root = log_to(logging.StreamHandler(output), logging.FileHandler(tmp_path / "log"))
    sink = TerminalSink(RunChecks())
    sink.progress(FIRST)
    assert output.getvalue() == f"{progress_line(FIRST)}\n"
    assert (tmp_path / "log").read_text() == f"[time] host/INFO: {progress_line(FIRST)}\n"
    root.setLevel(logging.WARNING)
    logging.getLogger("tokenswarm").setLevel(logging.WARNING)
    sink.progress(SECOND)
    assert output.getvalue().count("\n") == 1  # --quiet


def test_the_bar_shows_how_much_of_the_plan_is_over() -> None:
    assert progress_bar(FIRST, 120) == (
        "[#####---------------]  25 %  level 2/6 hold  50 users  2,431 tok/s  TTFT p50 253 ms  1 failed  10:00 left"
    )
    assert len(progress_bar(FIRST, 60)) == 59
    without_end = progress_bar(replace(HOLDING, failures=0, users_target=0, left=None), 120)
    assert without_end == "12:34  level 2/6 hold  48 in flight  2,431 tok/s  TTFT p50 253 ms  0 failed"


def test_a_page_is_opened_by_the_browser_that_there_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    opened, browser = tmp_path / "opened", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    browser.chmod(0o755)
    monkeypatch.setattr("webbrowser._tryorder", None)
    monkeypatch.setattr("webbrowser._browsers", {})
    monkeypatch.setenv("BROWSER", str(browser))
    (tmp_path / "report.html").write_text("")
    assert open_page(tmp_path / "report.html") == ""
    assert opened.read_text().strip() == (tmp_path / "report.html").as_uri()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a screen")
def test_without_a_screen_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    assert "no screen" in open_page(tmp_path / "report.html")
