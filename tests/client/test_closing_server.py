"""Attacks by servers that do not keep what they promise about their connections."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import gevent
import pytest

from tokenswarm.client.request_spec import RequestSpec
from tokenswarm.client.streaming_request import StreamingRequest
from tokenswarm.client.timeouts import Timeouts
from tokenswarm.engines import ENGINES, ChatRequest
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.wire import Origin, StreamClient

PATIENT = Timeouts(connect_s=60.0, first_token_s=60.0, idle_s=60.0, total_s=60.0)
USERS = 20
pytestmark = pytest.mark.chaos


def asked(origin: Origin, requests: int) -> list[Timeline]:
    client, timelines = StreamClient(origin, PATIENT.connect_s), list[Timeline]()
    for _ in range(requests):
        ask = StreamingRequest(
            client,
            RequestSpec(
                ENGINES["vllm"],
                ChatRequest(model="tiny", prompt="Why?", system_prompt=None, max_tokens=64),
                PATIENT,
                user="0.1",
                level=0,
                prompt_tokens=2,
                prompt_tokens_source="estimate",
            ),
        )
        timelines.append(ask.run())
    client.close()
    return timelines


def attacked(requests: int, *arguments: str) -> list[Timeline]:
    """All requests of all users, who ask again at once."""
    script = str(Path(__file__).with_name("closing_server.py"))
    server = subprocess.Popen([sys.executable, script, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        origin = Origin("127.0.0.1", int(server.stdout.readline()))
        asking = [gevent.spawn(asked, origin, requests) for _ in range(USERS)]
        return [timeline for each in asking for timeline in each.get()]
    finally:
        server.kill()
        server.wait()


def test_a_server_that_closes_behind_each_answer_has_no_failures() -> None:
    timelines = attacked(100)
    assert Counter(timeline.outcome for timeline in timelines) == {Outcome.OK: USERS * 100}


def test_a_server_that_resets_every_second_request_has_as_many_failures() -> None:
    timelines = attacked(20, "resets")
    failed = [timeline for timeline in timelines if timeline.outcome is Outcome.TRUNCATED]
    assert len(failed) == USERS * 20 / 2
    assert Counter(timeline.outcome for timeline in timelines)[Outcome.OK] == USERS * 20 / 2
    assert sum(timeline.retries for timeline in timelines) == 0
