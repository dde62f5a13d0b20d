"""The plain way to stream with Locust: HttpUser, requests, sseclient-py.

`read1` hands over what has come instead of waiting for a buffer to fill, and the tokens of a read get the time at which
it returned: as good as it gets in user space.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from locust import HttpUser, events, task
from sseclient import SSEClient

from benchmarks.plain_record import ClientLog
from benchmarks.question import BODY, PATH, headers

_CONNECT_AND_READ_TIMEOUT_S = (5, 60)

log = ClientLog()
events.quitting.add_listener(log.on_quitting)  # type: ignore[no-untyped-call]


class Reads:
    """The body of a response as it comes, and when its last read returned."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self.returned_ns = 0

    def __iter__(self) -> Iterator[bytes]:
        while data := self._raw.read1(65_536, decode_content=True):
            self.returned_ns = time.perf_counter_ns()
            yield data

    def close(self) -> None:
        self._raw.close()


class PlainUser(HttpUser):
    @task
    def chat(self) -> None:
        answer = log.begin()
        with self.client.post(
            PATH,
            json=BODY,
            headers=headers(answer.request_id),
            stream=True,
            timeout=_CONNECT_AND_READ_TIMEOUT_S,
            catch_response=True,
        ) as response:
            response.raise_for_status()
            reads = Reads(response.raw)
            done = False
            for event in SSEClient(iter(reads)).events():
                if event.data == "[DONE]":
                    done = True
                    continue
                choices = json.loads(event.data)["choices"]
                if choices and choices[0]["delta"].get("content"):
                    answer.token(reads.returned_ns)
            if done:
                answer.ok = True
            else:
                response.failure("the stream ended without [DONE]")
