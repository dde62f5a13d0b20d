"""What happens before a run: its options are completed and checked as a whole, whichever package they belong to."""

from startup.checks import StartChecks
from startup.plans import modes_of, plan_of, run_options, stage_of

__all__ = ["StartChecks", "modes_of", "plan_of", "run_options", "stage_of"]
