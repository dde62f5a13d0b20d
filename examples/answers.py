"""Reading the answer: its text decides what comes next, and a slow or empty one is counted and printed.

    tokenswarm run -f examples/answers.py -H http://gpu:8000 -u 10 -t 1m

A failed request is recorded and returned like any other. An exception in a task is Locust's: the task ends, it is
logged and listed under Exceptions, and the user goes on. Here `assert` makes an empty answer one.
"""

from locust import constant, task

from tokenswarm import StreamingUser


class Critic(StreamingUser):
    wait_time = constant(0.5)

    @task
    def write_and_improve(self) -> None:
        draft = self.stream("Write a slogan for a bakery.", name="draft", max_tokens=40)
        if not draft.ok:
            print(f"draft failed: {draft.outcome}, HTTP {draft.status}, {draft.error}")
            return
        assert draft.text.strip(), "the draft is empty"
        if draft.ttft_s is not None and draft.ttft_s > 5:
            return  # too late: this user would have left
        better = self.stream(f"Improve this slogan: {draft.text}", name="improve", max_tokens=40)
        better.raise_for_failure()
