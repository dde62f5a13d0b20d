"""An engine of your own: a server that speaks OpenAI's protocol with differences, by the name that --engine takes.

    tokenswarm run -f examples/own_engine.py -H http://gpu:8000 --engine acme

A spec says where requests go, which fields an exact length needs, how the server is detected (with clues, --engine
auto finds it) and where its metrics are: docs/engines.md. A package can offer its engine to every run as an entry
point of the group `tokenswarm.engines`.
"""

from dataclasses import replace

from locust import task

from tokenswarm import ENGINES, StreamingUser, register_engine

register_engine(replace(ENGINES["vllm"], name="acme", exact_length={"ignore_eos": True, "acme_mode": "exact"}))


class Customer(StreamingUser):
    @task
    def order(self) -> None:
        self.stream("I would like to order a table.", max_tokens=12)
