"""The address at which Prometheus scrapes this process, and for how long."""

from __future__ import annotations

import logging
from collections.abc import Collection

from gevent.event import Event

from tokenswarm.recording.prometheus import LiveRun, serve
from tokenswarm.recording.recording_options import RecordingOptions
from tokenswarm.run_control.interrupts import Interrupts

logger = logging.getLogger(__name__)

#: How many ports after the usual one are tried where none was given.
_NEXT_PORTS = 100


class MetricsEndpoint:
    """Serves until `stop`."""

    def __init__(self, live: LiveRun, options: RecordingOptions, port_given: bool, avoid: Collection[int] = ()) -> None:
        """port_given: whether --metrics-port was given: another port is then no choice. avoid: ports on which this
        process will listen for something else. Raises MetricsPortError."""
        self._linger_s = options.metrics_linger_s
        usual = options.metrics_port
        others = () if port_given else range(usual + 1, min(usual + _NEXT_PORTS, 65535) + 1)
        next_ports = [port for port in others if port not in avoid]
        self._server = serve(live, options.metrics_host, usual, next_ports)
        if self.port != options.metrics_port:
            logger.info(
                "Port %d is taken (another Tokenswarm may be running): metrics are at http://%s:%d/metrics",
                *(options.metrics_port, options.metrics_host, self.port),
            )

    @property
    def port(self) -> int:
        """Where it listens."""
        port = self._server.server_port
        assert port is not None
        return port

    def linger(self, interrupts: Interrupts) -> None:
        """Wait for --metrics-linger, or to the next interrupt: otherwise Prometheus misses what ended after its last
        scrape."""
        if not self._linger_s:
            return
        over = Event()
        interrupts.on_next = over.set
        logger.info("The metrics stay available for %g s (--metrics-linger). Press Ctrl-C to exit now", self._linger_s)
        over.wait(self._linger_s)

    def stop(self) -> None:
        """Close the port."""
        self._server.stop(timeout=1)
