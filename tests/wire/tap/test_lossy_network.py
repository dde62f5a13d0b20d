"""Times of a tap on a network that loses, doubles and reorders packets, beside what that network says it delivered."""

from __future__ import annotations

import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import msgspec
import pytest

from tests.wire.tap.lossy_network import TOKENS, parts
from tokenswarm.client.late_reading import LateReading
from tokenswarm.client.request_spec import RequestSpec
from tokenswarm.client.streaming_request import StreamingRequest
from tokenswarm.client.timeouts import Timeouts
from tokenswarm.engines import ENGINES, ChatRequest
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.wire import Origin, PacketTap, StreamClient
from tokenswarm.wire.loop_pacer import LOOP_PACER

pytestmark = pytest.mark.slow

#: How far two clocks that are read one after the other may be apart, and the system's may be adjusted meanwhile.
CLOCKS_APART_NS = 200_000
QUESTION = ChatRequest(model="m", prompt="p", system_prompt=None, max_tokens=None)
PATIENCE = Timeouts(connect_s=60, first_token_s=60, idle_s=60, total_s=60)


class Network:
    """The program lossy_network."""

    def __init__(self, seed: int) -> None:
        words = [sys.executable, "-m", "tests.wire.tap.lossy_network", str(seed)]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self._process = subprocess.Popen(words, text=True, **pipes)
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()

    def end(self) -> tuple[str, str]:
        """What it printed at the end, and its errors."""
        return self._process.communicate(timeout=60)


@pytest.fixture(params=range(3))
def network(request: pytest.FixtureRequest) -> Iterator[Network]:
    network = Network(request.param)
    if not network.address:
        _, errors = network.end()
        pytest.skip(f"no network can be made here: {(errors.splitlines() or ['it said nothing'])[-1]}")
    yield network
    network.end()


class Late(LateReading):
    """Of streams that are always, or never, read late."""

    def __init__(self, late: bool) -> None:
        super().__init__()
        self._always = late

    def reads_next_late(self) -> bool:
        return self._always


def bounds_of_bytes(said: dict[str, Any]) -> tuple[list[int], list[tuple[int, int]]]:
    """The offsets up to which all bytes had been delivered, ascending, and between which times each was reached."""
    ends: list[int] = []
    bounds: list[tuple[int, int]] = []
    had: list[tuple[int, int]] = []
    whole = 0
    for before_ns, after_ns, sequence, length in said["delivered"]:
        start = (sequence - said["first_sequence"]) % (1 << 32)
        had.append((start, start + length))
        reached = whole
        for first, behind in sorted(had):
            if first <= reached:
                reached = max(reached, behind)
        if reached > whole:
            whole = reached
            ends.append(whole)
            bounds.append((before_ns, after_ns))
    return ends, bounds


@pytest.mark.parametrize("late", [True, False], ids=["read late", "read as it comes"])
def test_each_token_has_the_time_at_which_it_and_all_before_it_had_been_delivered(
    network: Network, tap: PacketTap, kernel_stamps: None, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    monkeypatch.setattr(LOOP_PACER, "streaming", 64)
    client = StreamClient(Origin.parse(network.address), 60.0, {}, tap=tap)
    spec = RequestSpec(ENGINES["vllm"], QUESTION, PATIENCE, "u", late_reading=Late(late))
    real_ns, now_ns = time.time_ns(), time.perf_counter_ns()
    timeline: Timeline = StreamingRequest(client, spec).run()
    client.close()
    printed, _ = network.end()
    ends, bounds = bounds_of_bytes(msgspec.json.decode(printed))
    assert timeline.outcome is Outcome.OK
    assert timeline.tapped
    assert len(timeline.outputs_ns) == TOKENS
    wrong = []
    chunks_end = [*accumulate(map(len, parts()))][1 : TOKENS + 1]
    for output_ns, end in zip(timeline.outputs_ns, chunks_end, strict=True):
        event_end = end - len(b"\r\n")  # which may come in a segment before
        (before_ns, _), (_, after_ns) = (bounds[bisect_left(ends, offset)] for offset in (event_end, end))
        arrived_ns = output_ns - now_ns + real_ns
        if not before_ns - CLOCKS_APART_NS <= arrived_ns <= after_ns + CLOCKS_APART_NS:
            wrong.append((end, (arrived_ns - before_ns) / 1e6, (after_ns - before_ns) / 1e6))
    assert wrong == []
