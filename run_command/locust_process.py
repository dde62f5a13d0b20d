"""Locust's process as `tokenswarm run` and `tokenswarm web` start it, as a program: the same as `python -m locust`, but
that Ctrl-C ends it with one sentence while Python still imports Locust. Signals may have waited for that.

It imports none of Tokenswarm's packages, as the locustfile may not either: then the run is Locust's alone, and says so.
"""

from __future__ import annotations

import logging
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

_NOT_OURS = (
    "This locustfile imports nothing from tokenswarm: the run is Locust's alone, and Tokenswarm records nothing. "
    "Derive your users from tokenswarm.StreamingUser (docs/python-api.md), or leave -f out."
)


def main() -> None:
    """Import Locust, and become it."""
    here = Path(__file__).resolve()
    early = runpy.run_path(str(here.parents[1] / "run_control" / "early_interrupt.py"))
    errors = runpy.run_path(str(here.with_name("locustfile_errors.py")))
    errors["explain"]()
    options = runpy.run_path(str(here.parents[1] / "upstream" / "early_options.py"))
    options["explain_early_options"](errors["_end"])
    port = runpy.run_path(str(here.with_name("taken_master_port.py")))
    from locust import events
    from locust.main import main as locust_main
    from locust.runners import WorkerRunner

    def leave_to_locust(runner: Any, **_: Any) -> None:
        """At Locust's init, when the locustfile has been imported."""
        if "tokenswarm" in sys.modules:  # which refuses what it does not measure
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is early["_end"]:
                signal.signal(number, early["BEFORE"][number])
        if not isinstance(runner, WorkerRunner):
            logging.getLogger("tokenswarm").warning("%s", _NOT_OURS)

    def check_port(parser: Any, **_: Any) -> None:
        port["check_once"](parser, errors["_end"])

    events.init_command_line_parser.add_listener(errors["explain_options"])  # type: ignore[no-untyped-call]
    events.init_command_line_parser.add_listener(check_port)  # type: ignore[no-untyped-call]
    events.init.add_listener(leave_to_locust)  # type: ignore[no-untyped-call]
    sys.argv[0] = "tokenswarm"  # as Locust's own errors begin
    try:
        locust_main()  # type: ignore[no-untyped-call]
    except SystemExit as ended:
        if sentence := errors["exit_while_loading"](ended):
            errors["_end"](sentence)
        raise


if __name__ == "__main__":
    main()
