"""What the users of one run share on one process: the server, its dialect, the prompts, the recorder."""

from __future__ import annotations

import hashlib
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from engines import ChatRequest, Engine
from metrics.recorder import Recorder
from metrics.stage import Begun, Phase
from options import collect_errors
from prompts import (
    Prompt,
    PromptMarker,
    PromptSet,
    Sampler,
    estimate_tokens,
    load_prompts,
    load_system_prompt,
    parse_token_range,
    token_counter,
)
from users.address import origin_of
from users.options import ChatOptions, OptionError, Stamps, TokenTimes, engine_of, request_headers
from wire import StreamClient

_SAMPLED_ONE_IN = 10


@dataclass(frozen=True, slots=True)
class Material:
    """What a run asks, loaded: the same on every node."""

    prompts: PromptSet
    system_prompt: str
    count_tokens: Callable[[str], int] | None

    def facts(self) -> dict[str, str | int | float]:
        """What run.json records of it; the fingerprint is a SHA-256, hexadecimal."""
        fingerprint = hashlib.sha256(self.system_prompt.encode("utf-8", "surrogatepass")).hexdigest()
        return self.prompts.facts() | {"system_prompt_fingerprint": fingerprint}


@lru_cache(maxsize=2)
def _material(
    prompts: str, prompt_tokens: tuple[int, int], tokenizer: str | None, system_prompt_file: str | None
) -> Material:
    """Kept from run to run of one process: a data set takes seconds to read."""
    with collect_errors() as errors:
        counter = errors.of(token_counter, tokenizer)
        shortest, longest = prompt_tokens
        system_prompt = errors.of(load_system_prompt, system_prompt_file)
        loaded = errors.of(
            load_prompts, prompts, tokens_min=shortest, tokens_max=longest, counter=counter or token_counter(None)
        )
    return Material(loaded, system_prompt, counter.count if tokenizer else None)


def load_material(options: ChatOptions) -> Material:
    """Read prompts, system prompt and tokenizer. Raises PromptError."""
    return _material(options.prompts, options.prompt_tokens, options.tokenizer, options.system_prompt_file)


def load_given_material(given: Namespace) -> Material:
    """The same from Locust's options, whatever is wrong with the others. Raises PromptError."""
    return _material(
        given.prompts,
        parse_token_range(given.prompt_tokens),
        given.tokenizer or None,
        given.system_prompt_file or None,
    )


def check_turns(engine: Engine, material: Material) -> None:
    """Raises OptionError where the engine takes one text alone and the prompts hold conversations."""
    conversations = sum(bool(prompt.earlier) for prompt in material.prompts.prompts)
    if conversations and not engine.takes_turns:
        raise OptionError(
            f"--prompts: {conversations} rows are conversations of several messages, and {engine.name} takes one; "
            "choose rows with one user message each."
        )


class GapSampling:
    """Which streams' gaps are measured."""

    def __init__(self, token_times: TokenTimes) -> None:
        self._token_times = token_times
        self._asked = 0

    def measures_next(self) -> bool:
        """Whether the next stream's gaps are to be measured."""
        self._asked += 1
        if self._token_times is TokenTimes.SAMPLED:
            return self._asked % _SAMPLED_ONE_IN == 1
        return self._token_times is TokenTimes.ALL


class Session:
    """A run as its users on this process see it."""

    def __init__(self, options: ChatOptions, host: str, recorder: Recorder) -> None:
        """`options` names the engine and the model. Raises UnusableUrl, OptionError, PromptError, EngineError."""
        self.options = options
        self.material = load_material(options)
        self.engine: Engine = engine_of(options)
        self.recorder = recorder
        self._origin = origin_of(host)
        self._tls = options.tls.context()
        self._headers = request_headers(self.engine, options.key_for(self._origin))
        self._sampler = Sampler(self.material.prompts, options.seed, recorder.worker)
        count_tokens = self.material.count_tokens or estimate_tokens
        self._marker = PromptMarker(options.prompt_reuse, options.prompt_nonce, recorder.worker, count_tokens)
        self._gap_sampling = GapSampling(options.token_times)

    def client(self) -> StreamClient:
        """A user's own client."""
        return StreamClient(
            self._origin,
            self.options.timeouts.connect_s,
            self._headers,
            self._tls,
            kernel_stamps=self.options.stamps is Stamps.KERNEL,
        )

    def measures_gaps(self) -> bool:
        """Whether the next stream's gaps are to be measured."""
        return self._gap_sampling.measures_next()

    def draw(self) -> Prompt:
        """The next prompt of this worker's order, marked as --prompt-reuse asks for."""
        recorder = self.recorder
        number, recorder.prompts_drawn = recorder.prompts_drawn, recorder.prompts_drawn + 1
        return self._marker.mark(self._sampler.draw(), number)

    def request(self, prompt: Prompt, with_system_prompt: bool) -> ChatRequest:
        """The question as it goes to the engine; a system prompt of the run replaces that of the conversation."""
        return ChatRequest(
            model=self.options.model,
            prompt=prompt.text,
            system_prompt=self.material.system_prompt if with_system_prompt else prompt.system,
            earlier=prompt.earlier,
            max_tokens=self.options.max_tokens,
            ignore_eos=self.options.ignore_eos,
        )

    def open_stage(self) -> Begun | None:
        """The stage a request sent now would belong to; None while nothing new shall be sent."""
        begun = self.recorder.current_stage
        if begun is None or begun.phase_at(time.perf_counter_ns()) is Phase.DRAIN:
            return None
        return begun
