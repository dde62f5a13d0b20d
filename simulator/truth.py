"""The truth log: what really went out, one CSV row at each request's end.

Times are CLOCK_MONOTONIC in integer nanoseconds (`time.perf_counter_ns`), 0 where the thing did not happen, so that a
client on the same machine can subtract its own:

t_accept  the connection was accepted (earlier requests on a kept connection share it)
t_wire    the kernel received the request's last bytes; equal to t_request where the system gives no such time
t_request this process read them
t_role    the role event, t_first the first text, t_last the last text, were handed to the kernel: stamped after the
          write (which queues the bytes of a client that reads too slowly for the kernel to take more)
t_done    the request's end: after its last write, or when the client was found gone

late_max_us is how far behind its own schedule the server ever wrote a token of this answer: where that is not small,
the server was the bottleneck and the run says nothing about the client. `tokens` counts the tokens sent, as the dialect
counts them: most with the end token, some without, and so those that show no count. Outcomes are ok, client_gone, cut
(closed by the server), truncated (the body ended early as if it were complete), http_error, stream_error and stalled.
"""

import csv
from collections.abc import Callable
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from tokenswarm.simulator.errors import SimulatorError, check_log


@dataclass(slots=True)
class TruthRow:
    """The life of one request; fields are the log's columns, in their order."""

    id: int
    t_accept_ns: int
    t_wire_ns: int
    t_request_ns: int
    t_role_ns: int = 0
    t_first_ns: int = 0
    t_last_ns: int = 0
    t_done_ns: int = 0
    tokens: int = 0
    late_max_us: int = 0
    outcome: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    x_request_id: str = ""


class TruthLog:
    """Writes rows to `path`, each on disk as soon as it is written; raises SimulatorError if it cannot be opened. At
    the first row that cannot be written, `on_failure` receives one sentence, and no more rows are written."""

    def __init__(self, path: Path, on_failure: Callable[[str], None] | None = None) -> None:
        check_log("--truth-log", path)
        self._path = path
        self._on_failure = on_failure
        try:
            self._file = path.open("w", newline="", encoding="utf-8", buffering=1)
        except OSError as error:
            raise self._unusable(error) from error
        self._rows = csv.writer(self._file, lineterminator="\n")
        try:
            self._rows.writerow(field.name for field in fields(TruthRow))
        except OSError as error:
            self.close()
            raise self._unusable(error) from error

    def write(self, row: TruthRow) -> None:
        """Write the row, unless an earlier one could not be written."""
        if self._file.closed:
            return
        try:
            self._rows.writerow(astuple(row))
        except OSError as error:
            self.close()
            reason = error.strerror or error
            if self._on_failure is not None:
                self._on_failure(f"the truth log {self._path} ends at request {row.id}: {reason}; the server goes on.")

    def close(self) -> None:
        """Close the file. What a full disk did not take is lost."""
        with suppress(OSError):
            self._file.close()

    def _unusable(self, error: OSError) -> SimulatorError:
        reason = error.strerror or error
        return SimulatorError(f"cannot write the truth log {self._path}: {reason}; name a file that can be.")
