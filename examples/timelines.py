"""Listening to timelines: each finished request's record, on the process where it ran.

    tokenswarm run -f examples/timelines.py -H http://gpu:8000 -u 10 -t 1m

Here the slowest answer of each name is printed when the process ends; a listener can just as well write a file or
send a message. It should be quick: while it works, its process sends and reads nothing.
"""

from locust import constant, events, task

from tokenswarm import StreamingUser, Timeline
from tokenswarm import events as tokenswarm_events

slowest: dict[str, Timeline] = {}


@tokenswarm_events.request_timed.add_listener
def keep_slowest(timeline: Timeline, **_: object) -> None:
    known = slowest.get(timeline.name)
    if timeline.ttft_ns is not None and (known is None or timeline.ttft_ns > (known.ttft_ns or 0)):
        slowest[timeline.name] = timeline


@events.quit.add_listener
def print_slowest(**_: object) -> None:
    for name, timeline in slowest.items():
        print(f"slowest {name}: TTFT {(timeline.ttft_ns or 0) / 1e6:.1f} ms, {timeline.output_tokens} tokens")


class Patient(StreamingUser):
    wait_time = constant(0.2)

    @task
    def count(self) -> None:
        self.stream("Count to ten.", max_tokens=24)
