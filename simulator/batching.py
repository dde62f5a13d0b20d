"""Who gets a token, and when: continuous batching as a pure model. Time is an argument, in integer nanoseconds.

An engine works in steps. Each step gives one token to every sequence that is decoding and, out of what is left of the
step's token budget, computes (prefills) prompts, the oldest first, in pieces where they do not fit: chunked prefill, as
vLLM has it by default today. A sequence whose prompt is complete gets its first token at the end of that step. A step
takes

    step_ms + sequence_ms x decoding sequences + prefilled tokens / prefill_tokens_per_s + prefill_ms x prompts in it

so that both a larger batch and a newcomer's prompt slow everybody down. At most `max_batch` sequences are in the batch,
the rest wait in arrival order. Prompt blocks computed before are skipped (see `prefix_cache`); generated tokens are not
cached, and the memory that running sequences need bounds nothing (`kv_blocks` is for the metrics of it).

Engines schedule differently, and three differences are data:

- `prefill_alone`: a step computes prompts or decodes, prompts first, as vLLM and TGI without chunked prefill. Newcomers
  are served sooner, and everybody else waits meanwhile.
- `prefill_ratio` and `prefill_patience`: prompts wait while fewer than `prefill_ratio` x decoding sequences are
  waiting, but for `prefill_patience` steps at most. These are TGI's `waiting_served_ratio` and `max_waiting_tokens`.
- `slowdown`: steps become longer by this share, evenly over the first `slowdown_s` seconds in which the
  batch is full; an engine that was idle is as fast as at first.
"""

import random
from collections import OrderedDict
from dataclasses import dataclass, field

from tokenswarm.simulator.errors import SimulatorError, option_name
from tokenswarm.simulator.prefix_cache import BLOCK_TOKENS, EVICTIONS, PrefixCache


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast an engine is, and how it schedules: see this module's head.

    `jitter` is the sigma of a lognormal factor, of mean 1, on the time of each step.
    """

    step_ms: float
    sequence_ms: float
    prefill_tokens_per_s: float
    prefill_ms: float
    max_batch: int = 256
    step_tokens: int = 8192
    cache_blocks: int = 25_000
    cache_block_tokens: int = BLOCK_TOKENS
    cache_eviction: str = "lru"
    kv_blocks: int = 25_000
    jitter: float = 0.0
    prefill_alone: bool = False
    prefill_ratio: float = 0.0
    prefill_patience: int = 0
    slowdown: float = 0.0
    slowdown_s: float = 300.0

    def __post_init__(self) -> None:
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise SimulatorError(f"{option_name(name)} must be from {low:g} to {high:g}, got {value:g}.")
        if self.cache_eviction not in EVICTIONS:
            raise SimulatorError(f"--cache-eviction must be {' or '.join(EVICTIONS)}, got {self.cache_eviction!r}.")
        if self.step_tokens <= self.max_batch:
            # Decoding alone would use the budget up, and no waiting prompt would ever get in.
            raise SimulatorError(
                f"--step-tokens must be more than --max-batch ({self.max_batch}), got {self.step_tokens}."
            )


_BOUNDS = {
    "step_ms": (0.001, 1e6),
    "sequence_ms": (0, 1e6),
    "prefill_tokens_per_s": (0.001, 1e12),
    "prefill_ms": (0, 1e6),
    "max_batch": (1, 1e6),
    "step_tokens": (2, 1e9),
    "cache_blocks": (0, 1e9),
    "cache_block_tokens": (1, 1e6),
    "kv_blocks": (1, 1e9),
    "jitter": (0, 2),
    "prefill_ratio": (0, 1e6),
    "prefill_patience": (0, 1e6),
    "slowdown": (0, 1e3),
    "slowdown_s": (0.001, 1e9),
}


@dataclass(slots=True, eq=False)
class Job:
    """One sequence: a request and its answer. The first five fields are given, the rest belongs to the batch."""

    number: int
    prompt_tokens: int
    blocks: tuple[bytes, ...]
    wanted: int
    arrived_ns: int
    cached_tokens: int = 0
    prefill_left: int = 0
    produced: int = 0
    first_ns: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """A finished step: when it was due to end, the jobs that got one token from it, in their order, for how many of
    them it was the first, and how long those of the others who waited longest had done so since their last."""

    due_ns: int
    jobs: list[Job]
    firsts: int
    gap_ns: int


@dataclass(slots=True)
class _Plan:
    """The step under way."""

    due_ns: int
    duration_ns: int
    decodes: bool
    prefills: list[tuple[Job, int]] = field(default_factory=list)


class Batch:
    """The engine's state. Call `advance` when `due_ns` is reached; between calls nothing happens."""

    def __init__(self, speed: Speed, seed: int = 0) -> None:
        self._speed = speed
        self._random = random.Random(seed)
        self._cache = PrefixCache(speed.cache_blocks, speed.cache_eviction)
        self._waiting: OrderedDict[int, Job] = OrderedDict()
        self._prefilling: dict[int, Job] = {}
        self._decoding: dict[int, Job] = {}
        self._plan: _Plan | None = None
        self._decoded_ns = 0
        self._decode_steps = 0
        self._full_ns = 0
        self._pause_ns = 0
        self.queried_tokens = 0
        self.hit_tokens = 0
        self.prefilled_prompt_tokens = 0
        self.generated_tokens = 0
        self.steps = 0

    @property
    def due_ns(self) -> int | None:
        """When the step under way ends; None when the engine is idle."""
        return None if self._plan is None else self._plan.due_ns

    @property
    def running(self) -> int:
        return len(self._prefilling) + len(self._decoding)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def kv_usage(self) -> float:
        """How much of the cache the running sequences take, 0 to 1. It is shown in metrics, and bounds nothing."""
        places = (*self._prefilling.values(), *self._decoding.values())
        blocks = sum((job.prompt_tokens + job.produced) // self._speed.cache_block_tokens + 1 for job in places)
        return min(1.0, blocks / self._speed.kv_blocks)

    def submit(self, job: Job) -> None:
        """Queue a job that has just arrived; an idle engine starts on it at once."""
        self._waiting[job.number] = job
        if self._plan is None:
            self._begin(job.arrived_ns)

    def pause(self, pause_ns: int) -> None:
        """The next step takes so much longer: nobody gets a token meanwhile, and nobody is let in."""
        self._pause_ns += pause_ns

    def cancel(self, job: Job) -> None:
        """Take a job out, wherever it is. The step under way lasts as planned; the place is free after it."""
        for place in (self._waiting, self._prefilling, self._decoding):
            place.pop(job.number, None)

    def flush_cache(self) -> bool:
        """Forget all cached prompts. Returns whether that was done: not while there are requests."""
        if self.running or self.waiting:
            return False
        self._cache.clear()
        return True

    def advance(self, now_ns: int) -> Step | None:
        """End the step under way if it is due and begin the next; None if nothing is due.

        The next step begins when this one was due, not when the caller came, so that lateness does not add up. A caller
        that is later than a whole step is overloaded: then the engine goes on from now instead of racing to catch up.
        """
        plan = self._plan
        if plan is None or plan.due_ns > now_ns:
            return None
        newcomers = self._end_prefills(plan)
        leaves_out = bool(self._decoding) and not plan.decodes
        served = newcomers if leaves_out else [*self._decoding.values(), *newcomers]
        self._give(served, newcomers)
        self.steps += 1
        gap_ns = plan.due_ns - self._decoded_ns
        if not leaves_out:
            self._decoded_ns = plan.due_ns
        late = now_ns - plan.due_ns > plan.duration_ns
        self._begin(now_ns if late else plan.due_ns)
        return Step(plan.due_ns, served, len(newcomers), gap_ns)

    def _end_prefills(self, plan: _Plan) -> list[Job]:
        """The jobs whose prompts are complete."""
        newcomers = []
        for job, tokens in plan.prefills:
            job.prefill_left -= tokens
            if job.prefill_left == 0 and self._prefilling.pop(job.number, None) is not None:
                newcomers.append(job)
                job.first_ns = plan.due_ns
                self._cache.insert(job.blocks)
                self.prefilled_prompt_tokens += job.prompt_tokens
        return newcomers

    def _give(self, served: list[Job], newcomers: list[Job]) -> None:
        """One token to each of those served."""
        for job in newcomers:
            self._decoding[job.number] = job
        for job in served:
            job.produced += 1
            if job.produced == job.wanted:
                del self._decoding[job.number]
        self.generated_tokens += len(served)

    def _begin(self, start_ns: int) -> None:
        if not self.running:
            if not self._waiting:
                self._plan = None
                self._full_ns = 0
                return
            start_ns = max(start_ns, next(iter(self._waiting.values())).arrived_ns)
            self._decoded_ns = start_ns
        if self._lets_in():
            self._admit(start_ns)
        self._plan = self._next(start_ns)

    def _next(self, start_ns: int) -> _Plan:
        alone = self._speed.prefill_alone and bool(self._prefilling)
        decoding = 0 if alone else len(self._decoding)
        prefills = self._share_prefill(self._speed.step_tokens - decoding)
        self._decode_steps = 0 if prefills else self._decode_steps + 1
        duration_ns = self._duration_ns(decoding, prefills) + self._pause_ns
        self._pause_ns = 0
        if self.running >= self._speed.max_batch:
            self._full_ns += duration_ns
        return _Plan(start_ns + duration_ns, duration_ns, not alone, prefills)

    def _lets_in(self) -> bool:
        """Whether waiting prompts may interrupt the decoding by now."""
        few = len(self._waiting) < self._speed.prefill_ratio * len(self._decoding)
        return not few or self._decode_steps >= self._speed.prefill_patience

    def _admit(self, start_ns: int) -> None:
        budget = self._speed.step_tokens - len(self._decoding) - sum(s.prefill_left for s in self._prefilling.values())
        while self._waiting and self.running < self._speed.max_batch and budget > 0:
            number, job = next(iter(self._waiting.items()))
            if job.arrived_ns > start_ns:
                return
            del self._waiting[number]
            # The last token is always computed: its result is the first token of the answer.
            usable = job.blocks[: (job.prompt_tokens - 1) // self._speed.cache_block_tokens]
            job.cached_tokens = self._cache.match(usable) * self._speed.cache_block_tokens
            job.prefill_left = job.prompt_tokens - job.cached_tokens
            self.queried_tokens += job.prompt_tokens
            self.hit_tokens += job.cached_tokens
            self._prefilling[number] = job
            budget -= job.prefill_left

    def _share_prefill(self, budget: int) -> list[tuple[Job, int]]:
        prefills = []
        for job in self._prefilling.values():
            tokens = min(job.prefill_left, budget)
            if tokens <= 0:
                break
            prefills.append((job, tokens))
            budget -= tokens
        return prefills

    def _duration_ns(self, decoding: int, prefills: list[tuple[Job, int]]) -> int:
        speed = self._speed
        prefill_ms = 1000 * sum(tokens for _, tokens in prefills) / speed.prefill_tokens_per_s
        total_ms = speed.step_ms + speed.sequence_ms * decoding + prefill_ms + speed.prefill_ms * len(prefills)
        if speed.slowdown:
            total_ms *= 1 + speed.slowdown * min(1, self._full_ns / 1e9 / speed.slowdown_s)
        if speed.jitter:
            total_ms *= self._random.lognormvariate(-(speed.jitter**2) / 2, speed.jitter)
        return max(1, round(total_ms * 1e6))
