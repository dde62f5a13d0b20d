"""The fast way to stream with Locust: FastHttpUser and its `iter_lines`.

It hands over lines as 1,024 bytes have come, or the end: several tokens at once.
"""

from __future__ import annotations

import json
import time

from locust import FastHttpUser, events, task

from benchmarks.plain_record import ClientLog
from benchmarks.question import BODY, PATH, headers

_DATA = "data: "

log = ClientLog()
events.quitting.add_listener(log.on_quitting)  # type: ignore[no-untyped-call]


class FastUser(FastHttpUser):
    @task
    def chat(self) -> None:
        answer = log.begin()
        for line in self.client.iter_lines(PATH, method="POST", json=BODY, headers=headers(answer.request_id)):
            if not line.startswith(_DATA):
                continue
            data = line[len(_DATA) :]
            if data == "[DONE]":
                answer.ok = True
                continue
            choices = json.loads(data)["choices"]
            if choices and choices[0]["delta"].get("content"):
                answer.token(time.perf_counter_ns())
