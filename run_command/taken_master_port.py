"""The port for workers of a run that is Locust's alone: refused before workers are forked where it is taken.

Locust forks first, and then ends with a traceback, and its workers try for five minutes to reach what has the port. A
run of Tokenswarm's own users has its check in cluster/listening_ports.py.

It imports none of Tokenswarm's packages: run_command/locust_process.py runs it as a file.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

_OURS = "tokenswarm.run_control.composition"
#: Whether it was checked: later, this process may be the one that listens there.
_checked = False


def check_once(parser: Any, refuse_with: Callable[[str], object]) -> None:
    """At Locust's init_command_line_parser: check the port once the command line has been read. refuse_with: ends the
    process with a sentence."""
    parse = parser.parse_args

    def parsed(*arguments: Any, **named: Any) -> Any:
        global _checked
        options = parse(*arguments, **named)
        is_first, _checked = not _checked, True
        if is_first and _OURS not in sys.modules and (sentence := _why_taken(options)):
            refuse_with(sentence)
        return options

    parser.parse_args = parsed


def _why_taken(options: Any) -> str:
    """ "" where this process will not listen for workers, or can."""
    host, port = options.master_bind_host, options.master_bind_port
    if options.worker or not (options.processes or options.master) or not 0 < port < 65536:
        return ""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("" if host == "*" else host, port))
            listener.listen()
    except OSError as error:
        other = "; another master may be running" if error.errno == errno.EADDRINUSE else ""
        reason = os.strerror(error.errno) if isinstance(error.errno, int) and error.errno > 0 else str(error)
        workers = "the same one with --master-port" if options.processes else "its workers the same one"
        return (
            f"the master cannot listen for workers on {host}:{port} ({reason}{other}). Give it another port with "
            f"--master-bind-port, and {workers}."
        )
    return ""
