"""What Locust does with files of its own that cannot be written, and what becomes of it."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import locust.main
import pytest

from tokenswarm.upstream.locust_files import end_without_html_file, keep_log_going


@pytest.fixture
def full_log() -> Iterator[logging.Logger]:
    """The root logger, with a log file on a full disk."""
    root, file = logging.getLogger(), logging.FileHandler("/dev/full")
    file.setFormatter(logging.Formatter("[%(name)s] %(message)s"))
    root.addHandler(file)
    yield root
    root.removeHandler(file)
    file.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_log_file_on_a_full_disk_is_one_sentence_and_the_log_goes_on(
    full_log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_log_going()
    full_log.error("first")
    full_log.error("second")
    assert capsys.readouterr().err == (
        "tokenswarm: --logfile /dev/full cannot be written (No space left on device); the log goes on here.\n"
        "[root] first\n[root] second\n"
    )


@pytest.fixture
def html_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locust's, put back at the end."""
    monkeypatch.setattr(locust.main, "get_html_report", lambda *_, **__: "page")
    monkeypatch.setattr(locust.main, "process_html_filename", vars(locust.main)["process_html_filename"])


@pytest.mark.usefixtures("html_functions")
def test_an_html_file_that_cannot_be_written_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = inspect.getsource(locust.main)
    made, named, written = (
        source.index(text)
        for text in ("get_html_report(environment,", "process_html_filename(options)", "with open(options.html_file")
    )
    assert made < named < written
    end_without_html_file()
    end_without_html_file()
    names = vars(locust.main)
    assert names["get_html_report"](None) == "page"
    (tmp_path / "file").touch()
    good, bad = tmp_path / "new" / "3.html", tmp_path / "file" / "3.html"
    for path, kept in ((good, str(good)), (bad, os.devnull)):
        options = SimpleNamespace(html_file=str(path).replace("3", "{u}"), num_users=3, spawn_rate=None, run_time=None)
        names["process_html_filename"](options)
        assert options.html_file == kept
    assert good.read_text() == "page"
    assert capsys.readouterr().err.startswith(f"tokenswarm: --html {bad} cannot be written (")
