"""Several requests in one task: a conversation by hand, each request with the answers so far.

    tokenswarm run -f examples/conversation.py -H http://gpu:8000 -u 10 -t 1m

`name` puts the turns of all users into one row each; without it, all of them would be in the row `talk`.
"""

from locust import constant, task

from tokenswarm import StreamingUser

QUESTIONS = ("What is a prefix cache?", "When does it help?", "And when does it not?")


class Student(StreamingUser):
    wait_time = constant(1)

    @task
    def talk(self) -> None:
        messages = [{"role": "system", "content": "You are a patient teacher."}]
        for turn, question in enumerate(QUESTIONS, start=1):
            messages.append({"role": "user", "content": question})
            answer = self.stream(messages=messages, name=f"turn {turn}", max_tokens=80)
            if not answer.ok:  # it is recorded; there is nothing to continue
                return
            messages.append(answer.message)
