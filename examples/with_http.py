"""Beside Locust's HttpUser: requests that do not stream are in Locust's statistics, streams in both.

    tokenswarm run -f examples/with_http.py -H http://gpu:8000 -u 10 -t 1m --csv plain

The users are spawned by their weights, here three readers to one monitor. `--csv` and Locust's own page show the
requests of both; requests.csv, the table and report.html those that stream.
"""

from locust import HttpUser, constant, task

from tokenswarm import StreamingUser


class Writer(StreamingUser):
    weight = 3
    wait_time = constant(0.2)

    @task
    def write(self) -> None:
        self.stream("Write a haiku.", max_tokens=24)


class Monitor(HttpUser):
    weight = 1
    wait_time = constant(0.5)

    @task
    def list_models(self) -> None:
        self.client.get("/v1/models")
