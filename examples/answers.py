"""Reading the answer: a check decides whether it is right, and its text what comes next.

    tokenswarm run -f examples/answers.py -H http://gpu:8000 -u 10 -t 1m

A failed request is recorded and returned like any other; an answer that `check` finds wrong has failed too, with the
outcome wrong_answer. An exception in a task is Locust's: the task ends, it is logged and listed under Exceptions, and
the user goes on.
"""

from locust import constant, task

from tokenswarm import StreamingUser, StreamResponse


def is_slogan(answer: StreamResponse) -> str | None:
    """None where the answer is right, else why it is not."""
    assert answer.text.strip(), "no visible text"
    words = len(answer.text.split())
    return None if words <= 60 else f"{words} words, and at most 60 are a slogan"


class Critic(StreamingUser):
    wait_time = constant(0.5)

    @task
    def write_and_improve(self) -> None:
        draft = self.stream("Write a slogan for a bakery.", name="draft", max_tokens=40, check=is_slogan)
        if not draft.ok:
            print(f"draft failed: {draft.outcome}, HTTP {draft.status}, {draft.error}")
            return
        if draft.ttft_s is not None and draft.ttft_s > 5:
            return  # too late: this user would have left
        better = self.stream(f"Improve this slogan: {draft.text}", name="improve", max_tokens=40, check=is_slogan)
        better.raise_for_failure()
