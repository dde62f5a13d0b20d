"""What a terminal shows of a run: a line each few seconds, then the table and where the charts are."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from metrics.health import SelfCheck
from metrics.progress import Progress
from reports.charts import draw_charts
from reports.judge import Judge
from reports.judgement import judgement_lines
from reports.output import show
from reports.progress import progress_line
from reports.results import ReportError, load_results
from reports.run_page import draw_page
from reports.self_check import self_check_line
from reports.table import summary_table

logger = logging.getLogger("tokenswarm")


class TerminalSink:
    """Prints; the figures are those of the results folder, read back from it. judge: whose conditions are told."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def self_checked(self, worker: int, check: SelfCheck) -> None:
        """One line."""
        logger.info("%s", self_check_line(worker, check))

    def progress(self, progress: Progress) -> None:
        """One line."""
        logger.info("%s", progress_line(progress))

    def finished(self, folder: Path) -> None:
        """The table, the page, the charts, the folder. A report that cannot be made says so and loses nothing."""
        output = self._judge.output
        try:
            results = load_results(folder)
            judgement = self._judge.judgement(results)
            table, lines = summary_table(results), judgement_lines(judgement)
        except ReportError as error:
            logger.error("The report could not be made: %s; the results are in %s", error, folder)
            return
        show("\n" + "\n\n".join(["\n".join(part) for part in ([table], lines) if part]) + "\n", output)
        show(f"Results: {folder}", output)
        _draw("Page", folder, lambda: [draw_page(results, judgement)], output)
        _draw("Chart", folder, lambda: draw_charts(results, folder), output)
        for line in self._judge.written(folder):
            show(line, output)


def _draw(kind: str, folder: Path, draw: Callable[[], list[Path]], output: TextIO) -> None:
    try:
        for drawn in draw():
            show(f"{kind}: {drawn}", output)
    except ReportError as error:
        logger.error("The report could not be made: %s; the results are in %s", error, folder)
    except Exception as error:  # whatever a drawing library says: what was measured is in the folder all the same
        logger.error("The report could not be made: %r; the results are in %s", error, folder)
