"""A response that comes as the test cut it, without a socket; when all of it has come, the server closes."""

from __future__ import annotations

import time

from tokenswarm.wire import Arrival, Exchange, Receiver, ServerBrokeProtocol


class Replayed:
    """A client and a connection at once: a response that comes as the test cut it, some reads at each look."""

    watched = True

    def __init__(self, reads: list[bytes], batch: int) -> None:
        self._reads = reads
        self._batch = batch
        self._aside = False

    def encode_post(self, path: str, body: bytes, headers: dict[str, str]) -> bytes:
        return body

    def send_post(self, request: bytes, receiver: Receiver, not_before_ns: int = 0) -> Exchange:
        return ReplayedExchange(self, receiver)

    def close(self) -> None:
        """There is nothing to close."""

    def unwatch(self) -> None:
        raise AssertionError("gaps are to be measured")

    def defer(self) -> None:
        self._aside = True

    def catch_up(self) -> None:
        """All that was read has been looked at."""

    def read_now(self) -> int:
        return 0

    def deliver(self, exchange: Exchange) -> None:
        """As a connection does, errors included."""
        try:
            self._deliver(exchange)
        except ServerBrokeProtocol as broken:
            exchange.finish(time.perf_counter_ns(), broken)

    def _deliver(self, exchange: Exchange) -> None:
        reads = self._reads[: self._batch]
        del self._reads[: self._batch]
        while reads and not exchange.ended:
            now_ns = time.perf_counter_ns()
            if self._aside:
                del reads[: exchange.on_batch(reads, [now_ns] * len(reads), [0] * len(reads))]
            if reads:
                exchange.on_read(reads.pop(0), now_ns, 0, True, now_ns)
        if not self._reads and not exchange.ended:
            exchange.finish(time.perf_counter_ns(), _broken_by_the_close(exchange))


class ReplayedExchange(Exchange):
    def __init__(self, replayed: Replayed, receiver: Receiver) -> None:
        super().__init__(time.perf_counter_ns(), 0, replayed, receiver)
        self._replayed = replayed

    def wait(self, timeout_s: float) -> list[Arrival]:
        self._replayed.deliver(self)
        return []


def _broken_by_the_close(exchange: Exchange) -> ServerBrokeProtocol | None:
    try:
        exchange.response.end_of_connection()
    except ServerBrokeProtocol as broken:
        return broken
    return None
