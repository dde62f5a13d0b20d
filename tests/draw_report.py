"""Draws docs/images/report-light.png and report-dark.png: the head of a real run's report, for README.

python -m tests.draw_report

A short ladder is run against the simulator, and its report.html is photographed by Chromium: the one on the path, or
Playwright's own (`python -m playwright install chromium`).
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Error, Playwright, sync_playwright

from tokenswarm.reports.compare.gate_command import HOLD_OF_A_RATE_S
from tokenswarm.run_folder.reader import load_results, runs_in

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
MOST_BYTES = 200_000

_RAMP_S, _SPARE_S = 4, 1
#: Holds that are long enough for the interval of a token rate.
_LEVEL_TIME_S = _RAMP_S + HOLD_OF_A_RATE_S + _SPARE_S
_LOAD = (
    *("--levels", "10,50,100", "--ramp", f"{_RAMP_S}s", "--level-time", f"{_LEVEL_TIME_S:g}s"),
    *("--settle", "1s", "--system-prompt", "off"),
)
_REQUESTS = ("--max-tokens", "64", "--slo", "ttft=500ms tpot=60ms", "--metrics-port", "0")
#: About as wide as README's column, at twice its pixels.
_WIDTH_PX, _SCALE, _MARGIN_PX = 960, 2, 12
_COLOURS = 64
#: Down to which section of the page.
_LAST_SECTION = "TTFT and token rate"


def run_ladder(results: Path) -> Path:
    """The folder of a run. Raises CalledProcessError where it failed."""
    command = [sys.executable, "-m", "tokenswarm", "run", "--quiet", *_LOAD, *_REQUESTS, "--results", str(results)]
    subprocess.run(command, check=True, cwd=results, stdout=subprocess.DEVNULL)
    (folder,) = runs_in(results)
    return folder


def launched(playwright: Playwright) -> Browser | None:
    """A Chromium; None where there is none."""
    try:
        return playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
    except Error:
        return None


def photograph(browser: Browser, report: Path, scheme: str) -> bytes:
    """The head of the page as a PNG of few colours. scheme: light or dark."""
    page = browser.new_page(
        viewport={"width": _WIDTH_PX, "height": 2 * _WIDTH_PX},
        device_scale_factor=_SCALE,
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page.goto(report.as_uri())
    box = page.locator("section", has=page.get_by_role("heading", name=_LAST_SECTION)).bounding_box()
    assert box is not None
    height = box["y"] + box["height"] - _MARGIN_PX
    shot = page.screenshot(clip={"x": 0, "y": 0, "width": _WIDTH_PX, "height": height})
    page.close()
    packed = io.BytesIO()
    drawn = Image.open(io.BytesIO(shot)).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    drawn.save(packed, "PNG", optimize=True)
    return packed.getvalue()


def main() -> int:
    """0; 2 where there is no Chromium, or a picture is too large; 3 where the run is not valid."""
    with sync_playwright() as playwright:
        browser = launched(playwright)
        if browser is None:
            print("No Chromium was found: install it, or run `python -m playwright install chromium`.", file=sys.stderr)
            return 2
        with tempfile.TemporaryDirectory() as results:
            folder = run_ladder(Path(results))
            validity = load_results(folder).summary.validity
            if validity.verdict != "valid":
                print(f"The run is {validity.verdict}: {validity.reasons[0]}.", file=sys.stderr)
                return 3
            pictures = {scheme: photograph(browser, folder / "report.html", scheme) for scheme in ("light", "dark")}
        browser.close()
    for scheme, picture in pictures.items():
        if len(picture) > MOST_BYTES:
            print(f"report-{scheme}.png would have {len(picture):,} bytes, over {MOST_BYTES:,}.", file=sys.stderr)
            return 2
        (IMAGES / f"report-{scheme}.png").write_bytes(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
