"""How a subcommand of this room ends: its own exit code, or one sentence and 2."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

from metrics.exit_codes import EXIT_UNUSABLE
from reports.conditions import ConditionError
from reports.results import ReportError


def ended(name: str, command: Callable[[], int]) -> int:
    """Run the command. Returns its exit code, or 2 after telling on the standard error what cannot be done as asked."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show "–" or "≥" shows "?" instead of ending the report.
        sys.stdout.reconfigure(errors="replace")
    try:
        return command()
    except (ReportError, ConditionError) as error:
        print(f"tokenswarm {name}: {error}", file=sys.stderr)
        return EXIT_UNUSABLE
