"""What a terminal shows of a run: a line each few seconds, then the table and where the charts are."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from metrics.health import SelfCheck
from metrics.progress import Progress
from reports.charts import draw_charts
from reports.judge import Judge
from reports.judgement import judgement_lines
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
        try:
            results = load_results(folder)
            print(f"\n{summary_table(results)}\n", flush=True)
            judgement = self._judge.judgement(results)
            if lines := judgement_lines(judgement):
                print("\n".join(lines) + "\n", flush=True)
            print(f"Results: {folder}", flush=True)
        except ReportError as error:
            logger.error("The report could not be made: %s; the results are in %s", error, folder)
            return
        _tell("Page", folder, lambda: [draw_page(results, judgement)])
        _tell("Chart", folder, lambda: draw_charts(results, folder))


def _tell(kind: str, folder: Path, draw: Callable[[], list[Path]]) -> None:
    try:
        for drawn in draw():
            print(f"{kind}: {drawn}", flush=True)
    except ReportError as error:
        logger.error("The report could not be made: %s; the results are in %s", error, folder)
    except Exception as error:  # whatever a drawing library says: what was measured is in the folder all the same
        logger.error("The report could not be made: %r; the results are in %s", error, folder)
