"""The picture of README: drawn from a valid run alone, and by a browser that is there."""

from __future__ import annotations

import io
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests import draw_report
from tests.reports.folders import Course, write_folder
from tokenswarm.reports.checks.check_report import check_run
from tokenswarm.reports.html.run_page import draw_page
from tokenswarm.run_folder.reader import load_results

SUSPECT = {"validity": {"verdict": "suspect", "reasons": ["the client lagged"]}}


class Browser:
    """Stands for one that was started."""

    def close(self) -> None:
        pass


@pytest.fixture
def without_browser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder that pictures are written to."""
    monkeypatch.setattr(draw_report, "sync_playwright", nullcontext)
    monkeypatch.setattr(draw_report, "IMAGES", images := tmp_path / "images")
    images.mkdir()
    return images


def test_without_a_chromium_one_sentence_says_what_to_install(
    without_browser: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(draw_report, "launched", lambda _: None)
    monkeypatch.setattr(draw_report, "run_ladder", lambda _: pytest.fail("a run was made"))
    assert draw_report.main() == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("changes", "code", "drawn"), [({}, 0, 2), ({"summary": SUSPECT}, 3, 0)])
def test_a_picture_is_of_a_valid_run(
    changes: dict[str, Any],
    code: int,
    drawn: int,
    without_browser: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(draw_report, "launched", lambda _: Browser())
    monkeypatch.setattr(draw_report, "run_ladder", lambda to: write_folder(to / "run", [Course()], 1, **changes))
    monkeypatch.setattr(draw_report, "photograph", lambda *_: b"a picture")
    assert draw_report.main() == code
    assert len(list(without_browser.iterdir())) == drawn
    assert ("the client lagged" in capsys.readouterr().err) == (code == 3)


@pytest.mark.slow
def test_a_photograph_is_of_the_head_of_the_page(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    folder = write_folder(tmp_path / "run", [Course()], 1)
    results = load_results(folder)
    draw_page(results, check_run((), results))
    with sync_playwright() as playwright:
        if (browser := draw_report.launched(playwright)) is None:
            pytest.skip("there is no Chromium here")
        light, dark = (draw_report.photograph(browser, folder / "report.html", scheme) for scheme in ("light", "dark"))
        browser.close()
    pictures = [Image.open(io.BytesIO(each)).convert("L") for each in (light, dark)]
    assert pictures[0].size == pictures[1].size
    assert pictures[0].width == 1920
    assert pictures[0].getpixel((2, 2)) > 200
    assert pictures[1].getpixel((2, 2)) < 60
    assert max(len(light), len(dark)) <= draw_report.MOST_BYTES
