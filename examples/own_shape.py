"""A load shape of your own: Locust's LoadTestShape, which says every second how many users there are.

    tokenswarm run -f examples/own_shape.py -H http://gpu:8000

The run has one level, `shape Burst`, and windows.csv has the users of every five seconds. It ends when `tick` returns
None; streams that are open then may end.
"""

from locust import LoadTestShape, task

from tokenswarm import StreamingUser


class Asker(StreamingUser):
    @task
    def question(self) -> None:
        self.stream("Why is the sky blue?", max_tokens=30)


class Burst(LoadTestShape):
    """(until this second, users): few, many, few again."""

    steps = ((1.5, 2), (3, 6), (4, 1))

    def tick(self) -> tuple[int, float] | None:
        elapsed_s = self.get_run_time()
        users = next((users for until_s, users in self.steps if elapsed_s < until_s), None)
        return None if users is None else (users, 10.0)
