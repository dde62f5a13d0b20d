"""What a pod of a run does: `python -m tokenswarm.kube.pod_entry --workers N -- OPTIONS OF tokenswarm run`.

The pod with index 0 is the master, or the only process; all others are workers. A master's results outlive its run:
the container goes on until somebody has collected them, for a limited time, unless they were uploaded (--results URL).
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tokenswarm.run_command.run_command import locust_command
from tokenswarm.run_folder.remote_folder import UPLOADED

#: Beside the folders of runs: the run's exit code, once they are complete; and that they were collected.
EXIT_CODE_FILE = ".exit-code"
COLLECTED_FILE = ".collected"
_POLL_S = 1.0
#: How long a worker waits until the master's name is known, and a master until all workers are there.
_JOIN_LIMIT_S = 900


class _Stop:
    """Whether the pod has been stopped from outside; the run is then stopped too."""

    def __init__(self) -> None:
        self.requested = False
        self.child: subprocess.Popen[bytes] | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._request())

    def _request(self) -> None:
        self.requested = True
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)


def main(words: Sequence[str]) -> int:
    """Returns the run's exit code. A worker's process is replaced by Locust."""
    args = _parser().parse_args(words)
    options = args.options[1:] if args.options[:1] == ["--"] else args.options
    if args.index:
        return _work(args.master_host)
    return _lead(args, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tokenswarm.kube.pod_entry")
    parser.add_argument("--index", type=int, default=int(os.environ.get("JOB_COMPLETION_INDEX", "0")))
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--master-host", default="")
    parser.add_argument("--results", type=Path, default=Path("/results"))
    parser.add_argument("--collect-within", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("options", nargs=argparse.REMAINDER)
    return parser


def _work(master_host: str) -> int:
    # The name of the master's pod is known once it has an address.
    if not waited_for(lambda: _is_known(master_host), _JOIN_LIMIT_S):
        print(f"tokenswarm: the master {master_host} had no address for {_JOIN_LIMIT_S} s.", file=sys.stderr)
        return 3
    command = locust_command(["--worker", "--master-host", master_host])
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606  the program is our own
    return 0


def _lead(args: argparse.Namespace, options: Sequence[str]) -> int:
    master = ("--master", "--expect-workers", str(args.workers)) if args.workers else ()
    limit = ("--expect-workers-max-wait", str(_JOIN_LIMIT_S)) if args.workers else ()
    marks = [args.results / name for name in (EXIT_CODE_FILE, COLLECTED_FILE)]
    for mark in marks:  # of an earlier run, where the folder is a claim's
        mark.unlink(missing_ok=True)
    before = set(args.results.glob("*/run.json"))
    stop = _Stop()
    stop.child = subprocess.Popen(locust_command(["--headless", *master, *limit, *options]))
    code = stop.child.wait()
    code = 128 - code if code < 0 else code
    if runs := [path.parent for path in args.results.glob("*/run.json") if path not in before]:
        marks[0].write_text(f"{code}\n", encoding="utf-8")
        if not all((run / UPLOADED).exists() for run in runs) and not stop.requested:
            _await_collection(args, stop, code)
    return code


def _await_collection(args: argparse.Namespace, stop: _Stop, code: int) -> None:
    print(
        f"The run is over (exit code {code}). Its results are kept for {args.collect_within:g} s, or until they are "
        "collected.",
        flush=True,
    )
    waited_for(lambda: stop.requested or (args.results / COLLECTED_FILE).exists(), args.collect_within)


def waited_for(condition: Callable[[], bool], limit_s: float) -> bool:
    """Wait for it. Returns whether it came in time."""
    deadline_s = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_POLL_S)
    return True


def _is_known(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
