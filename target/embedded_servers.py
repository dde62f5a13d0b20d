"""Tokenswarm's own servers, in processes of their own: the embedded simulator, which is the server of a run without
--host, and the paced server of known speed, against which a client is calibrated.
"""

from __future__ import annotations

import csv
import logging
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tokenswarm.client.option_values import OptionError

logger = logging.getLogger(__name__)

#: Tokens of the shortest and the longest response: 0.4 to 1 s at the server's 40 tokens/s.
_ANSWER_TOKENS = ("16", "40")
_ADDRESS = re.compile(r"listening on (http://\S+)")


class EmbeddedSimulator:
    """`python -m tokenswarm.simulator` as a child process; it ends with `stop`, or when this process is gone."""

    def __init__(self) -> None:
        """Start it and wait for its address. Raises OptionError if it does not come up."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tokenswarm.simulator", "--port", "0", "--exit-with-parent"],
            cwd=_import_folder(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the run: the simulator must outlive its last streams
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        match = _ADDRESS.search(line)
        if not match:
            self.stop()
            raise OptionError(f"the embedded simulator did not start (it said {line!r}); give a server with --host.")
        self.host = match[1]

    def stop(self) -> None:
        """End it and wait until it has."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class SentResponse(NamedTuple):
    """A response in the paced server's log; times in ns, see simulator/paced_log.py."""

    wire_ns: int
    first_ns: int
    tokens: int
    gap_max_ns: int

    @property
    def ttft_ns(self) -> int:
        return self.first_ns - self.wire_ns


class PacedServerProcess:
    """`python -m tokenswarm.simulator.paced` as a child process, and its log once it has ended. It also ends when this
    process is gone."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="tokenswarm-")
        self._log = Path(self._folder.name) / "sent.csv"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tokenswarm.simulator.paced", "--log", str(self._log), "--tokens", *_ANSWER_TOKENS],
            cwd=_import_folder(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the run
        )

    def __enter__(self) -> PacedServerProcess:
        """Wait until it has an address. Raises OptionError if it does not come up."""
        try:
            self.host = self._address()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def _address(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        match = _ADDRESS.search(line)
        if not match:
            raise OptionError(
                f"--self-check: the server of known speed did not start (it said {line!r}); it needs Linux. Run "
                "without the check, or on a system that has what it needs."
            )
        return match[1]

    def end(self) -> dict[str, list[SentResponse]]:
        """End it, and read what it sent: by X-Request-Id, in the order of its answers' ends."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        sent: dict[str, list[SentResponse]] = {}
        with self._log.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                sent.setdefault(row["request_id"], []).append(
                    SentResponse(*(int(row[name]) for name in SentResponse._fields))
                )
        return sent


def _import_folder() -> Path:
    """Where `python -m tokenswarm…` finds this Tokenswarm, and not another that the working directory may hold."""
    folder = Path(__file__).resolve().parents[1]  # the package's in a wheel, the root of a checkout
    return folder.parent if (folder / "__init__.py").exists() else folder
