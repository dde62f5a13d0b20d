"""The article's run in virtual time: users who ask again as soon as they are answered, and the batching model."""

import heapq
import random
from dataclasses import dataclass, field
from statistics import fmean, median

from tokenswarm.simulator.batching import Batch, Job
from tokenswarm.simulator.profiles import Profile
from tokenswarm.simulator.tokens import AnswerGenerator

SECOND = 1_000_000_000
#: Prompts of 30 to 150 tokens, the template's ten around them.
PROMPT_TOKENS = (40, 160)
MAX_TOKENS = 512


@dataclass(slots=True)
class Level:
    """What a level's users saw: a step's time (s) and tokens, and each request's time of sending and TTFT (s)."""

    steps: list[tuple[float, int]] = field(default_factory=list)
    firsts: list[tuple[float, float]] = field(default_factory=list)

    def token_rate(self, since_s: float, until_s: float) -> float:
        """Tokens a second that came in that time."""
        return sum(tokens for at_s, tokens in self.steps if since_s < at_s <= until_s) / (until_s - since_s)

    def ttft_s(self, since_s: float) -> float:
        """The mean over requests sent since then."""
        return fmean(ttft_s for sent_s, ttft_s in self.firsts if sent_s >= since_s)

    def ttft_median_s(self, since_s: float) -> float:
        return median(ttft_s for sent_s, ttft_s in self.firsts if sent_s >= since_s)


def level(profile: Profile, users: int, seconds: float, ramp_s: float = 20, seed: int = 1) -> Level:
    """`users` come evenly within `ramp_s` and ask without pause for `seconds` in all."""
    batch = Batch(profile.speed, seed)
    answers = AnswerGenerator(seed, profile.answer_median_tokens, profile.answer_sigma)
    source = random.Random(seed)
    arrivals = [round(ramp_s * SECOND * user / users) for user in range(users)]
    found = Level()
    number = 0
    while True:
        if arrivals and (batch.due_ns is None or arrivals[0] <= batch.due_ns):
            at_ns = heapq.heappop(arrivals)
            wanted = answers.draw(number, MAX_TOKENS).tokens
            batch.submit(Job(number, source.randint(*PROMPT_TOKENS), (), wanted, at_ns))
            number += 1
            continue
        assert batch.due_ns is not None
        now_ns = batch.due_ns
        if now_ns > seconds * SECOND:
            return found
        step = batch.advance(now_ns)
        assert step is not None
        found.steps.append((now_ns / SECOND, len(step.jobs)))
        for job in step.jobs:
            if job.produced == 1:
                found.firsts.append((job.arrived_ns / SECOND, (now_ns - job.arrived_ns) / SECOND))
            if job.produced == job.wanted:
                heapq.heappush(arrivals, now_ns)
