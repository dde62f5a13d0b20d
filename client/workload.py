"""What a run sends, as its options say: prompts, system prompt, tokenizer, images."""

from __future__ import annotations

import hashlib
import secrets
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

from tokenswarm.client.length_options import LengthOptions
from tokenswarm.client.option_values import OptionError
from tokenswarm.client.prompt_supply import encoded
from tokenswarm.client.request_control import Endpoint
from tokenswarm.client.request_options import ChatOptions
from tokenswarm.client.session_options import Answers, SessionOptions, SessionSupply
from tokenswarm.command_line import collect_errors
from tokenswarm.engines import EncodedImage, EngineSpec
from tokenswarm.prompts import (
    PromptSet,
    TokenCounter,
    load_prompts,
    load_system_prompt,
    parse_token_range,
    token_counter,
)
from tokenswarm.prompts.images import RunImage, load_images
from tokenswarm.prompts.synthetic.marked_png import MARK_BYTES
from tokenswarm.prompts.synthetic.synthetic_prompts import SyntheticSource
from tokenswarm.prompts.traces.replay_notation import replay_of
from tokenswarm.prompts.traces.trace_source import TraceSource

#: What a run sends: a data set, synthetic prompts, or the requests of a trace.
RunPrompts: TypeAlias = PromptSet | SyntheticSource | TraceSource

#: Of prompts, to read them for their own errors where the option of their lengths is wrong.
_ANY_LENGTH = (0, 10**9)


@dataclass(frozen=True, slots=True)
class Workload:
    """What a run sends, loaded: the same on every node."""

    prompts: RunPrompts
    system_prompt: str
    count_tokens: Callable[[str], int] | None
    images: tuple[RunImage, ...] = ()
    #: Counts the system prompt's tokens: the run's tokenizer, else the estimate.
    counter: TokenCounter = field(default_factory=token_counter)

    def facts(self) -> dict[str, str | int | float]:
        """What run.json records of it; the fingerprint is a SHA-256, hexadecimal."""
        fingerprint = hashlib.sha256(self.system_prompt.encode("utf-8", "surrogatepass")).hexdigest()
        return self.prompts.facts() | {
            "system_prompt_fingerprint": fingerprint,
            "system_prompt_tokens": self.counter.count(self.system_prompt),
            "system_prompt_counting": self.counter.name,
        }


@lru_cache(maxsize=2)
def _load(
    prompts: str | SyntheticSource | TraceSource,
    prompts_column: str | None,
    prompt_tokens: tuple[int, int],
    tokenizer: str | None,
    system_prompt_file: str | None,
    images: tuple[str, ...],
    seed: int,
    sessions: SessionOptions,
) -> Workload:
    """Kept from run to run of one process: a data set takes seconds to read."""
    with collect_errors() as errors:
        counter = errors.of(token_counter, tokenizer)
        shortest, longest = prompt_tokens
        system_prompt = errors.of(load_system_prompt, system_prompt_file)
        loaded_images = errors.of(load_images, images)
        if isinstance(prompts, SyntheticSource | TraceSource):
            return Workload(prompts, system_prompt, counter.count if tokenizer else None, loaded_images, counter)
        loaded = errors.of(
            load_prompts,
            prompts,
            tokens_min=shortest,
            tokens_max=longest,
            counter=counter or token_counter(None),
            text_column=prompts_column,
            seed=seed,
            sessions=sessions.whole_conversations,
        )
        if loaded:
            errors.of(_check_answers, loaded, sessions)
    return Workload(loaded, system_prompt, counter.count if tokenizer else None, loaded_images, counter)


def load_workload(options: ChatOptions) -> Workload:
    """Read prompts, system prompt and tokenizer. Raises PromptError."""
    if options.trace is not None:
        _check_beside_trace(options)
    source = options.lengths.source(options.seed)
    synthetic = options.sessions.of_source(source) if source else None
    found = _load(
        TraceSource.of(options.trace) if options.trace else synthetic or options.prompts,
        options.prompts_column,
        options.prompt_tokens,
        options.tokenizer,
        options.system_prompt_file,
        options.control.images,
        options.seed,
        options.sessions,
    )
    if isinstance(found.prompts, PromptSet) and found.prompts.stats.made and options.cache.prefix is not None:
        raise OptionError(
            "--prefix has no effect on the prompts of --prompts, whose lengths and shared beginnings are recorded: "
            "leave one of them out."
        )
    return found


def load_given_workload(given: Namespace) -> Workload:
    """The same from Locust's options, whatever is wrong with the others. Raises PromptError."""
    with collect_errors() as errors:
        sessions = SessionOptions.of(given, errors)
        token_range = errors.of(parse_token_range, given.prompt_tokens)
        lengths = errors.of(LengthOptions.of, given)
        source = lengths.source(0) if lengths else None
        synthetic = sessions.of_source(source) if source else None
        replay = errors.of(replay_of, given)
        trace = errors.of(TraceSource.of, replay) if replay else None
        return errors.of(
            _load,
            trace or synthetic or given.prompts,
            given.prompts_column or None,
            token_range or _ANY_LENGTH,
            given.tokenizer or None,
            given.system_prompt_file or None,
            tuple(given.image or ()),
            given.seed,
            sessions,
        )


def _check_beside_trace(options: ChatOptions) -> None:
    """Raises OptionErrors for what a trace says itself; of the command line, other checks find these before."""
    given = {
        "--input-tokens": options.lengths.plan.input,
        "--prefix": options.cache.prefix,
        "--turns": options.sessions.turns,
        "--image": options.control.images,
    }
    with collect_errors() as errors:
        for name, value in given.items():
            if value:
                errors.add(
                    OptionError(f"{name} has no effect beside --trace, which has its own: leave one of them out.")
                )


def _check_answers(prompts: PromptSet, sessions: SessionOptions) -> None:
    """Raises OptionError where answers are to be those of the prompts, which do not hold all of them, and where
    sessions are to begin once, and there are none, or delays to be shortened."""
    if sessions.supply is SessionSupply.ONCE and not prompts.stats.sessions:
        raise OptionError(
            "--session-supply once has no effect: no row of --prompts is a session of several turns; leave it out."
        )
    if sessions.longest_delay_s is not None and not prompts.stats.delays and not prompts.stats.agents:
        raise OptionError("--longest-delay has no effect: --prompts records no delays between turns; leave it out.")
    if sessions.answers is not Answers.RECORDED:
        return
    if not prompts.stats.sessions:
        raise OptionError("--answers recorded has no effect: no row of --prompts has several turns; leave it out.")
    if missing := prompts.stats.unanswered:
        raise OptionError(
            f"--answers recorded: --prompts holds no answer before {missing:,} of its turns; use --answers own."
        )


def length_facts(options: ChatOptions, prompts: RunPrompts) -> dict[str, str]:
    """What run.json records: which lengths are requested; nothing where none is."""
    if not isinstance(prompts, TraceSource):
        return options.lengths.facts()
    has_output = options.lengths.plan.output is not None or bool(prompts.plan.output_tokens.all())
    return {"requested_lengths": "input and output" if has_output else "input"}


def has_turns(prompts: RunPrompts) -> bool:
    """Whether there are sessions of several turns, each sent when the one before is answered."""
    if isinstance(prompts, TraceSource):
        return False
    return prompts.turns is not None if isinstance(prompts, SyntheticSource) else prompts.stats.sessions > 0


def check_turns(engine: EngineSpec, workload: Workload) -> None:
    """Raises OptionError where the engine takes one text alone and the prompts hold conversations."""
    if isinstance(workload.prompts, TraceSource):
        contents = workload.prompts.plan.trace.contents.values()
        if not engine.takes_turns and any(content.conversation.earlier for content in contents):
            raise OptionError(
                f"--trace: it has requests of several messages, and {engine.name} takes one; choose a trace without."
            )
        return
    if isinstance(workload.prompts, SyntheticSource):
        if has_turns(workload.prompts) and not engine.takes_turns:
            raise OptionError(
                f"--turns: requests to {engine.name} hold one message, and sessions of several turns need more; leave "
                "it out."
            )
        return
    conversations = workload.prompts.stats.conversations
    if conversations and not engine.takes_turns:
        raise OptionError(
            f"--prompts: {conversations} rows are conversations of several messages, and {engine.name} takes one; "
            "choose rows with one user message each."
        )
    with_tools = workload.prompts.stats.settings["tool_fields"]
    if with_tools and not engine.takes_tool_turns:
        raise OptionError(
            f"--prompts: {with_tools} rows hold tool calls, and requests to {engine.name} at {engine.path} have no "
            "place for them; use an engine with --endpoint chat, or rows without tool calls."
        )


def check_images(engine: EngineSpec, options: ChatOptions, prompts: RunPrompts | None = None) -> None:
    """Raises OptionError where requests, those that rows of the prompts choose included, cannot hold the images of the
    options."""
    if not options.control.images:
        return
    if prompts is not None and has_turns(prompts):
        raise OptionError("--image has no place in sessions of several turns: leave it out, or give --turns last.")
    if not engine.takes_images:
        raise OptionError(f"--image: requests to {engine.name} hold no images; leave it out.")
    if isinstance(prompts, PromptSet) and Endpoint.COMPLETIONS in prompts.stats.endpoints:
        raise OptionError(
            "--image: rows of --prompts choose the endpoint completions, whose requests hold no images; leave one out."
        )


def first_image(images: Sequence[RunImage]) -> EncodedImage | None:
    """The image of a request before the run, which no request of the run has, as far as images take marks; None where
    there is none."""
    return encoded(images[0], secrets.token_bytes(MARK_BYTES)) if images else None
