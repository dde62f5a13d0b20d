"""Who is asked when no host is given: the embedded simulator, in a process of its own for the length of the run."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path

from users.options import OptionError

logger = logging.getLogger(__name__)

_ADDRESS = re.compile(r"listening on (http://\S+)")


class EmbeddedSimulator:
    """`python -m simulator` as a child; it ends when told to, and by itself when this process is gone."""

    def __init__(self) -> None:
        """Start it and wait for its address. Raises OptionError if it does not come up."""
        folder = _folder_of_the_simulator()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "simulator", "--port", "0", "--exit-with-parent"],
            cwd=folder,
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


def _folder_of_the_simulator() -> Path:
    # Found where this file's siblings are: a stranger's own `simulator/` in the working directory must not be it.
    return Path(__file__).resolve().parent.parent
