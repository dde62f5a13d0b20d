"""What a terminal shows of a run: a line each few seconds, then the table and where the charts are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from tokenswarm.metrics.client_health import SelfCheck
from tokenswarm.metrics.level import Level
from tokenswarm.recording.progress import Progress
from tokenswarm.reports.capacity_sentence import capacity_sentence
from tokenswarm.reports.charts import draw_charts
from tokenswarm.reports.checks.check_report import check_lines
from tokenswarm.reports.checks.run_checks import RunChecks
from tokenswarm.reports.html.run_page import PAGE, draw_page
from tokenswarm.reports.open_page import open_page
from tokenswarm.reports.output import show, terminal_width
from tokenswarm.reports.progress_console import ProgressConsole
from tokenswarm.reports.progress_line import progress_legend, progress_line
from tokenswarm.reports.self_check_line import self_check_line
from tokenswarm.reports.text_table import summary_table
from tokenswarm.run_folder.reader import ReportError, load_results

logger = logging.getLogger("tokenswarm")


class TerminalSink:
    """Prints; the figures are those of the results folder, read back from it. checks: whose conditions are text."""

    def __init__(self, checks: RunChecks) -> None:
        self._checks = checks
        self._console = ProgressConsole()

    def began(self, plan: Sequence[Level]) -> None:
        """What the progress lines mean, or on a terminal the bar."""
        self._console.attach()
        legend, bar_legend = (progress_legend(plan, as_bar=as_bar) for as_bar in (False, True))
        logger.info("%s", legend, extra={"bar_legend": bar_legend})

    def self_checked(self, worker: int, check: SelfCheck) -> None:
        """One line."""
        logger.info("%s", self_check_line(worker, check))

    def progress(self, progress: Progress) -> None:
        """One line; on a terminal the same one, written again."""
        self._console.attach()
        logger.info("%s", progress_line(progress), extra={"progress": progress})

    def finished(self, folder: Path) -> None:
        """The table, the page, the charts, the folder. A report that cannot be made says so and loses nothing."""
        self._console.clear()
        output = self._checks.output
        try:
            results = load_results(folder)
            checks = self._checks.checks(results)
            width = terminal_width()
            table, lines = summary_table(results, width), check_lines(checks, width)
        except ReportError as error:
            logger.error("The report could not be made: %s; the results are in %s", error, folder)
            return
        show("\n" + "\n\n".join(["\n".join(part) for part in ([table], lines) if part]) + "\n", output)
        show(f"Results: {folder}", output)
        _draw("Page", folder, lambda: [draw_page(results, checks)], output)
        if self._checks.opens_page and (why_not := open_page(folder / PAGE)):
            logger.warning("%s", why_not)
        _draw("Chart", folder, lambda: draw_charts(results, folder), output)
        for line in self._checks.written(folder):
            show(line, output)
        if sentence := capacity_sentence(results.summary):
            show(f"Capacity: {sentence}", output)
        if self._checks.prints_summary:
            show((folder / "summary.json").read_text(encoding="utf-8").rstrip())


def _draw(kind: str, folder: Path, draw: Callable[[], list[Path]], output: TextIO) -> None:
    try:
        for drawn in draw():
            show(f"{kind}: {drawn}", output)
    except ReportError as error:
        logger.error("The report could not be made: %s; the results are in %s", error, folder)
    except Exception as error:  # whatever a drawing library says: what was measured is in the folder all the same
        logger.error("The report could not be made: %r; the results are in %s", error, folder)
