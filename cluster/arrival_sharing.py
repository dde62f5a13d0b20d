"""How a master shares the arrivals of an open-loop level among its workers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import gevent
import msgspec

from tokenswarm.cluster.level_broadcast import LevelBroadcast
from tokenswarm.cluster.master_channel import MasterChannel
from tokenswarm.cluster.membership import Membership
from tokenswarm.cluster.protocol import SENDING, SPLITS, AnnouncedSplits, LevelBegun, Sending
from tokenswarm.shapes.level_arrivals import schedule_of
from tokenswarm.shapes.level_splitter import LevelSplitter
from tokenswarm.shapes.splits import Splits

logger = logging.getLogger(__name__)

_POLL_S = 0.1


class ArrivalSharing:
    """Announces to all workers which of them sends which arrival, and again when a worker comes, leaves or is
    silent."""

    def __init__(
        self,
        channel: MasterChannel,
        membership: Membership,
        levels: LevelBroadcast,
        on_splits: Callable[[int, Splits], None],
    ) -> None:
        """on_splits: takes the index of the level and its splits, whenever they change."""
        self._channel, self._membership, self._levels = channel, membership, levels
        self._on_splits = on_splits
        self._begun: LevelBegun | None = None
        self._splitter: LevelSplitter | None = None
        channel.listen(SENDING, self._on_sending)

    def begin(self, begun: LevelBegun) -> None:
        """A level was announced. Raises ArrivalsError."""
        self.end()
        level = begun.level
        if level.arrivals is not None:
            assert level.level_time_s is not None
            self._begun = begun
            self._splitter = LevelSplitter(schedule_of(level), level.level_time_s, level.arrivals.max_in_flight)
            gevent.spawn(self._watch, self._splitter)

    def end(self) -> None:
        """The level is over."""
        self._begun = self._splitter = None

    def _level_s(self) -> float:
        """Seconds since the level began."""
        assert self._begun is not None
        return (time.perf_counter_ns() - self._begun.began_ns) / 1e9

    def _watch(self, splitter: LevelSplitter) -> None:
        while self._splitter is splitter and self._levels.current is self._begun:
            members = self._membership.members.values()
            available = {member.index for member in members if not member.leaving}
            known = splitter.splits
            if (splits := splitter.update(available, self._level_s())) is not None:
                self._announce(known, splits)
            gevent.sleep(_POLL_S)

    def _announce(self, known: Splits | None, splits: Splits) -> None:
        assert self._begun is not None
        self._on_splits(self._begun.level.index, splits)
        for name in self._membership.members:
            self._send(name, None)
        if known is not None:
            workers = ", ".join(map(str, splits.workers)) or "none"
            logger.info("From arrival %d on, requests are sent by these workers: %s", splits.last_first, workers)

    def _on_sending(self, environment: Any, msg: Any, **_: Any) -> None:
        sending = msgspec.convert(msg.data, Sending)
        begun, member = self._begun, self._membership.members.get(msg.node_id)
        if begun is None or member is None or (sending.run, sending.level) != (begun.run, begun.level.index):
            return
        assert self._splitter is not None
        self._splitter.announced(member.index, self._level_s())
        self._send(msg.node_id, sending.sent_ns)

    def _send(self, name: str, answers_ns: int | None) -> None:
        assert self._begun is not None and self._splitter is not None
        announced = AnnouncedSplits(self._begun.run, self._begun.level.index, self._splitter.splits, answers_ns)
        self._channel.send(SPLITS, name, msgspec.to_builtins(announced))
