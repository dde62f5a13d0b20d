"""The order in which one worker asks its prompts."""

import random

from prompts.records import Prompt, PromptSet


class Sampler:
    """Draws prompts in random order, each once before any comes again.

    The same (seed, worker_index) always gives the same order, on every platform; each worker gets an order of its own.
    """

    def __init__(self, prompt_set: PromptSet, seed: int, worker_index: int = 0) -> None:
        self._prompts = prompt_set.prompts
        # A string seed is hashed with SHA-512, so that neighbouring seeds and workers share nothing;
        # seed + worker_index would give worker 1 of seed 7 the order of worker 0 of seed 8.
        self._random = random.Random(f"{seed}/{worker_index}")
        self._waiting: list[int] = []

    def draw(self) -> Prompt:
        """The next prompt; the whole set is shuffled again when it is exhausted."""
        if not self._waiting:
            self._waiting = list(range(len(self._prompts)))
            self._random.shuffle(self._waiting)
        return self._prompts[self._waiting.pop()]
