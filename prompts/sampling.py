"""The order in which prompts are sent: by one worker, and sessions by all workers together."""

from __future__ import annotations

import random
from array import array
from functools import lru_cache

from tokenswarm.prompts.prompt_records import Prompt, PromptSet


class Sampler:
    """Draws prompts in random order, each once before any comes again.

    The same (seed, worker_index) always gives the same order, on every platform; each worker gets an order of its own.
    """

    def __init__(self, prompt_set: PromptSet, seed: int, worker_index: int = 0) -> None:
        self._prompts = prompt_set.prompts
        # A string seed is hashed with SHA-512, so that neighbouring seeds and workers share nothing;
        # seed + worker_index would give worker 1 of seed 7 the order of worker 0 of seed 8.
        self._random = random.Random(f"{seed}/{worker_index}")
        # An array, as lists of numbers take five times the memory: a set may have millions.
        self._waiting = array("L")
        self._shuffle()  # not at the first request: a large set takes a second

    def draw(self) -> Prompt:
        """The next prompt; the whole set is shuffled again when it is exhausted."""
        if not self._waiting:
            self._shuffle()
        return self._prompts[self._waiting.pop()]

    def _shuffle(self) -> None:
        self._waiting = array("L", range(len(self._prompts)))
        self._random.shuffle(self._waiting)


class SessionSampler:
    """Which prompt the run's session of each number (from 0) begins with: all of them in random order, each once before
    any comes again, whichever worker has the session.

    The same seed always gives the same order, on every platform.
    """

    def __init__(self, prompt_set: PromptSet, seed: int) -> None:
        self._prompts = prompt_set.prompts
        self._seed = seed
        self._order = lru_cache(maxsize=2)(self._order_of)  # sessions of two rounds may alternate, and of no more
        self._order(0)  # not at the first request: a large set takes a second

    def __len__(self) -> int:
        return len(self._prompts)

    def prompt(self, number: int) -> Prompt:
        """The prompt of the session of this number."""
        round_number, place = divmod(number, len(self._prompts))
        return self._prompts[self._order(round_number)[place]]

    def _order_of(self, round_number: int) -> array[int]:
        order = array("L", range(len(self._prompts)))
        random.Random(f"sessions/{self._seed}/{round_number}").shuffle(order)
        return order
