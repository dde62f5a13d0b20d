"""Messages of your own: each task sends what it wants, and the results have a row for each task.

    tokenswarm run -f examples/own_messages.py -H http://gpu:8000 -u 10 -t 1m

Without -H, a simulated server is started. The weights and wait times are Locust's: summaries are requested three
times as often as translations, and each user pauses for half a second to two seconds between two tasks.
"""

from locust import between, task

from tokenswarm import StreamingUser

ARTICLE = "Streaming answers are shown while they are generated, so the first token matters as much as the last one."


class Reader(StreamingUser):
    wait_time = between(0.5, 2)

    @task(3)
    def summarise(self) -> None:
        self.stream(f"Summarise in one sentence: {ARTICLE}", max_tokens=60)

    @task(1)
    def translate(self) -> None:
        self.stream(f"Translate into French: {ARTICLE}", system="You are a translator.", max_tokens=120)
