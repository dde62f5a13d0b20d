"""How a worker joins its master: it is admitted, loads what a run needs, and is ready; or it cannot take part."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gevent
import locust
import msgspec

from tokenswarm.cluster.master_clock import MasterClock
from tokenswarm.cluster.protocol import ADMITTED, JOIN, READY, REFUSED, REJECTED, Admitted, WorkerRefused
from tokenswarm.cluster.worker_channel import WorkerChannel
from tokenswarm.sanitize import server_text

#: How long a worker waits to be admitted, and how often it repeats its request.
_ADMISSION_S = 60.0
_REPEAT_S = 5.0
_POLL_S = 0.05
_REASON_CHARACTERS = 500
_PLAIN_MASTER = (
    "the master of this worker runs Locust without Tokenswarm; start that with this worker's locustfile (locust -f "
    "PATH/TO/locustfile.py --master)"
)


class WorkerAdmission:
    """Requests admission, and receives the master's answer. stop_timeout_s: --stop-timeout, of this worker or else of
    its master."""

    def __init__(
        self, channel: WorkerChannel, clock: MasterClock, build: str, cluster: str, abort: Callable[[str], None]
    ) -> None:
        """abort: called when the master rejects this worker after it was admitted."""
        self._channel, self._clock, self._abort = channel, clock, abort
        self._build, self._cluster = build, cluster
        options = channel.runner.environment.parsed_options
        self.stop_timeout_s = float(getattr(options, "stop_timeout", 0.0) or 0.0)
        self._is_admitted = False
        self._failure: str | None = None
        channel.listen(ADMITTED, self._on_admitted)
        channel.listen(REJECTED, self._on_rejected)

    def request(self) -> None:
        """Before anything is loaded: return when the master has admitted this worker. Raises WorkerRefused."""
        # The master of a plain Locust sends an index with its first answer, Tokenswarm's when it admits the worker.
        if self._channel.runner.worker_index >= 0:
            raise WorkerRefused(_PLAIN_MASTER)
        for tick in range(round(_ADMISSION_S / _POLL_S)):
            if tick % round(_REPEAT_S / _POLL_S) == 0:
                join = {"build": self._build, "cluster": self._cluster, "sent_ns": time.perf_counter_ns()}
                self._channel.send(JOIN, join)
            if self._is_admitted:
                return
            if self._failure is not None:
                raise WorkerRefused(self._failure)
            gevent.sleep(_POLL_S)
        raise WorkerRefused(
            f"the master did not admit this worker within {_ADMISSION_S:g} s; does it run Tokenswarm's locustfile?"
        )

    def ready(self) -> None:
        """Everything is loaded: this worker can be given users."""
        self._channel.send(READY, {"locust": locust.__version__})

    def refuse(self, reason: str) -> None:
        """This worker cannot take part. The master then ends the run: it must not continue at a part of the load."""
        self._channel.send(REFUSED, {"reason": server_text(reason, _REASON_CHARACTERS)})
        gevent.sleep(0.5)  # messages that were not sent yet are lost when the process ends

    def fail(self, reason: str) -> None:
        """The worker ends: a request for admission that still waits raises WorkerRefused."""
        self._failure = reason

    def _on_admitted(self, environment: Any, msg: Any, **_: Any) -> None:
        admitted = msgspec.convert(msg.data, Admitted)
        self._channel.runner.worker_index = admitted.index
        self.stop_timeout_s = self.stop_timeout_s or admitted.stop_timeout_s
        self._is_admitted = True
        self._clock.add(admitted)
        self._clock.begin()

    def _on_rejected(self, environment: Any, msg: Any, **_: Any) -> None:
        reason = f"the master rejects this worker: {str(msg.data['reason'])[:1000]}"
        if self._is_admitted:
            self._abort(reason)
        else:
            self._failure = reason
