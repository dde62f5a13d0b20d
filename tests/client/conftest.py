"""One user before a server whose every step the test takes (tests/peer.py), with the books of a run behind the user."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import gevent
import pytest

import tokenswarm.client.deadlines
import tokenswarm.wire.deferred_reader
from tests.peer import PATIENCE_S, Server
from tests.run_fixtures import kinds_of
from tokenswarm.client.request_spec import RequestSpec
from tokenswarm.client.streaming_request import StreamingRequest
from tokenswarm.client.timeouts import Timeouts
from tokenswarm.engines import ENGINES, ChatRequest
from tokenswarm.metrics.abandonment import Abandonment
from tokenswarm.metrics.level import Level, Scope
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.metrics.timeline import RequestLoad, Timeline
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.journal import Journal
from tokenswarm.recording.recorder import Recorder
from tokenswarm.recording.summary import figures
from tokenswarm.recording.worker_report import Report
from tokenswarm.wire import Origin, StreamClient

PATIENT = Timeouts(connect_s=PATIENCE_S, first_token_s=PATIENCE_S, idle_s=PATIENCE_S, total_s=PATIENCE_S)
QUESTION = ChatRequest(model="tiny", prompt="Why?", system_prompt=None, max_tokens=64)
STAGE = Level(index=0, system_prompt="off", name="1", users=1, ramp_s=0.0)


class Asker:
    """A user that asks when the test says so, and tells of it as the users of a run do."""

    def __init__(
        self,
        origin: Origin,
        folder: Path,
        timeouts: Timeouts = PATIENT,
        count_tokens: Callable[[str], int] | None = None,
        measure_gaps: bool = True,
        abandonment: Abandonment | None = None,
    ) -> None:
        self._began_ns = time.perf_counter_ns()
        self._recorder = Recorder(worker=0)
        self._recorder.begin_level(STAGE, self._began_ns, self._began_ns)
        self._aggregator = Aggregator(Objectives())
        self._aggregator.begin_level(STAGE, 0.0)
        self._journal = Journal(folder, "run")
        self._timeouts = timeouts
        self._count_tokens = count_tokens
        self._measure_gaps = measure_gaps
        self._abandonment = abandonment
        self._asked = 0
        self._running: list[gevent.Greenlet] = []
        self.timelines: list[Timeline] = []
        self.client = StreamClient(origin, timeouts.connect_s)

    def ask(self, scheduled_ns: int | None = None) -> None:
        """Ask once, to the end."""
        ask = StreamingRequest(
            self.client,
            RequestSpec(
                ENGINES["vllm"],
                QUESTION,
                self._timeouts,
                user="0.1",
                level=0,
                prompt_tokens=2,
                prompt_tokens_source="estimate",
                measure_gaps=self._measure_gaps,
                count_tokens=self._count_tokens,
                abandonment=self._abandonment,
                load=RequestLoad(abandons=self._abandonment is not None),
            ),
            on_output=self._recorder.saw_output,
        )
        if scheduled_ns is not None:
            ask.due(self.client, scheduled_ns)
        self._asked += 1
        self._recorder.in_flight += 1
        try:
            ask.run()
        finally:
            self._recorder.in_flight -= 1
            if ask.timeline is not None:
                self.timelines.append(ask.timeline)
                self._recorder.record(ask.timeline)

    def begins(self, scheduled_ns: int | None = None) -> gevent.Greenlet:
        """Ask in a greenlet of the user's own, so that the test can go on as the server."""
        self._running.append(gevent.spawn(self.ask, scheduled_ns))
        return self._running[-1]

    def has_seen(self, outputs: int) -> Callable[[], bool]:
        """Whether so many outputs, over all requests, have been taken in."""
        return lambda: self._recorder.output_events == outputs

    def has_received(self, received: int) -> Callable[[], bool]:
        """Whether so many bytes of the response under way have come, or it was over before."""
        assert self.client._connection is not None
        exchange = self.client._connection._exchange
        return lambda: exchange.bytes_received == received or self.is_idle()

    def is_idle(self) -> bool:
        """Whether everything asked has ended."""
        return all(asking.ready() for asking in self._running)

    def has_lost_the_connection(self) -> bool:
        """Whether the user knows that its kept connection is gone."""
        return self.client._connection is None or self.client._connection.closed

    def since_began_s(self) -> float:
        """Now, as requests.csv counts time."""
        return (time.perf_counter_ns() - self._began_ns) / 1e9

    def rows(self) -> list[dict[str, str]]:
        """requests.csv once everything asked has ended: each request in it once, and the books balance."""
        gevent.joinall(self._running, timeout=PATIENCE_S)
        report = Report.decode(self._recorder.take_report().encode())
        assert self._aggregator.apply(report)
        self._journal.write_requests(report.rows, {0: STAGE})
        assert self._aggregator.complete
        with (self._journal.folder / "requests.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == self._journal.rows == self._aggregator.recorded == self._aggregator.ended == self._asked
        assert [row["id"] for row in rows] == [f"0-{number}" for number in range(1, self._asked + 1)]
        assert self._aggregator.failures == sum(row["outcome"] not in {"ok", "cut", "abandoned"} for row in rows)
        assert self._aggregator.output_tokens == sum(int(row["output_tokens"]) for row in rows)
        return rows

    @property
    def retries(self) -> int:
        """As the summary counts them, once `rows` was called."""
        return figures(self._aggregator.levels[0].scopes[Scope.WHOLE], 1.0, Objectives()).retries

    def reasons(self) -> list[str]:
        """Why the run is suspect, once `rows` was called."""
        return kinds_of(self._aggregator)

    def row(self) -> dict[str, str]:
        """The only one."""
        (row,) = self.rows()
        return row

    def close(self) -> None:
        gevent.killall(self._running)
        self.client.close()
        self._journal.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not watched is looked at often, and nobody lingers for long: in a run the same happens, later."""
    monkeypatch.setattr(tokenswarm.client.deadlines, "LINGER_S", 0.05)
    monkeypatch.setattr(tokenswarm.wire.deferred_reader, "INTERVAL_S", 0.005)


@pytest.fixture
def askers(tmp_path: Path) -> Iterator[Callable[..., Asker]]:
    """Makes users of a server, patient ones where no timeouts are given, and ends them in the end."""
    made: list[Asker] = []

    def make(
        origin: Origin,
        count_tokens: Callable[[str], int] | None = None,
        measure_gaps: bool = True,
        abandonment: Abandonment | None = None,
        **timeouts_s: float,
    ) -> Asker:
        timeouts = replace(PATIENT, **timeouts_s)
        made.append(Asker(origin, tmp_path, timeouts, count_tokens, measure_gaps, abandonment))
        return made[-1]

    yield make
    for asker in made:
        asker.close()


@pytest.fixture
def user(server: Server, askers: Callable[..., Asker]) -> Asker:
    """A patient user of the server."""
    return askers(server.origin)
