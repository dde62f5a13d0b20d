"""How a subcommand of this package ends: its own exit code, or a sentence for each error and 2."""

from __future__ import annotations

import sys
from collections.abc import Callable

from tokenswarm.command_line import OptionErrors, sentences_of
from tokenswarm.command_line.exit_codes import EXIT_UNUSABLE
from tokenswarm.reports.checks.conditions import ConditionError
from tokenswarm.run_folder.reader import ReportError


def ended(name: str, command: Callable[[], int]) -> int:
    """Run the command. Returns its exit code, or 2 after printing each error on the standard error."""
    if reconfigure := getattr(sys.stdout, "reconfigure", None):  # of what the guard of outputs wraps
        # A terminal that cannot show "–" or "≥" shows "?" instead of ending the report.
        reconfigure(errors="replace")
    try:
        return command()
    except (ReportError, ConditionError, OptionErrors) as error:
        for sentence in sentences_of(error):
            print(f"tokenswarm {name}: {sentence}", file=sys.stderr)
        return EXIT_UNUSABLE
