"""The requests of a replayed trace, each with its recorded lengths and the text that its hash ids stand for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import gevent
from msgspec.structs import replace

from tokenswarm.client.chat_session import ChatSession, DrawnPrompt
from tokenswarm.client.prompt_supply import id_start, text_maker_of
from tokenswarm.client.request_options import ChatOptions
from tokenswarm.metrics.shareable import Shareable, SharedPart, key_of, shared_beginnings, template_start
from tokenswarm.prompts import Prompt, PromptMarker, PromptReuse, estimate_tokens
from tokenswarm.prompts.row_formats import RowContent
from tokenswarm.prompts.synthetic.block_texts import BlockTexts
from tokenswarm.prompts.synthetic.length_plan import RequestLengths
from tokenswarm.prompts.traces.trace_source import TraceSource

#: Texts that no two requests share are numbered in steps of this for each level.
_LEVEL_STEP = 1 << 40


class LevelArrival(NamedTuple):
    """An arrival of the level with this index, from 0; the arrivals of a warm-up are not those of the trace."""

    level: int
    number: int
    warm_up: bool = False


class TraceSupply:
    """Makes the requests of a replay, by the number of their arrival: the same ones on every worker."""

    def __init__(self, options: ChatOptions, source: TraceSource, count_tokens: Callable[[str], int] | None) -> None:
        """Raises PromptError, OptionError."""
        self._options = options
        self._plan = source.plan
        self._input_tokens = source.plan.input_tokens.tolist()
        self._output_tokens = source.plan.output_tokens.tolist()
        self._sessions = source.plan.sessions.tolist()
        self._id_start = id_start(options.prompt_nonce)
        self._maker = text_maker_of(options, count_tokens)
        calibration = options.lengths.calibration
        assert calibration is not None
        self._calibration = calibration
        block_tokens = source.plan.trace.block_tokens
        self._shared = source.plan.shared_blocks if options.cache.shares else None
        self._blocks = BlockTexts(self._maker, block_tokens) if self._shared else None
        reuse = options.prompt_reuse if options.cache.shares else PromptReuse.NEVER
        is_as_recorded = reuse is PromptReuse.ALWAYS
        self._marker = PromptMarker(
            PromptReuse.ALWAYS if is_as_recorded else PromptReuse.NEVER,
            *(options.prompt_nonce, 0, count_tokens or estimate_tokens),
        )
        #: Of the requests whose texts are recorded: counted here, as that may take milliseconds.
        self._written = {
            place: _written(content, self._plan.places[place], count_tokens or estimate_tokens)
            for place in range(len(self._input_tokens))
            if self._plan.trace.contents and (content := self._plan.content(place)) and content.conversation.text
        }
        #: Where each text has to be counted, which takes milliseconds: the hub has arrivals to stamp.
        self._in_thread = not calibration.adds_up and calibration.source == "tokenizer"

    def session(self, arrival: LevelArrival, with_system_prompt: bool) -> ChatSession:
        """Its one request."""
        options, place = self._options, arrival.number % len(self._input_tokens)
        output = self._output_tokens[place] or options.lengths.of_request(options.seed, arrival.number).output
        lengths = RequestLengths(self._input_tokens[place], output or self._exact_output)
        written = None if arrival.warm_up else self._written.get(place)
        if written is None:
            prompt = self._made(arrival, place, with_system_prompt)
        else:
            prompt, lengths = self._marked(written, arrival), lengths._replace(input=None)
        prompt = replace(prompt, max_tokens=lengths.output)
        model = options.models.model_of(options.seed, arrival.number) if options.models else options.model
        drawn = DrawnPrompt(
            prompt, lengths, model=model, number=arrival.number, recorded_session=self._session_id(arrival, place)
        )
        if written is None:
            drawn = drawn._replace(shareable=self._shareable(arrival, place, with_system_prompt))
        return ChatSession(drawn)

    def _made(self, arrival: LevelArrival, place: int, with_system_prompt: bool) -> Prompt:
        """The prompt of a recorded length."""
        if self._in_thread:
            text = gevent.get_hub().threadpool.apply(self._text, (arrival, place, with_system_prompt))
        else:
            text = self._text(arrival, place, with_system_prompt)
        content = None if arrival.warm_up else self._plan.content(place)
        overrides = content.body_overrides if content else None
        return Prompt(text, self._input_tokens[place], id=str(self._plan.places[place] + 1), body_overrides=overrides)

    def _marked(self, prompt: Prompt, arrival: LevelArrival) -> Prompt:
        """Behind the same mark in all requests, so that they share what the trace's do; behind one of its own where
        nothing is to be shared."""
        number = 0 if self._options.cache.shares else 1 + arrival.level * _LEVEL_STEP + arrival.number
        return self._marker.mark(prompt, number)

    def _session_id(self, arrival: LevelArrival, place: int) -> str:
        """That of a request without a session is its own."""
        session = -1 if arrival.warm_up else self._sessions[place]
        return f"{self._id_start}{arrival.level}-{session if session >= 0 else f'r{arrival.number}'}"

    @property
    def _exact_output(self) -> int | None:
        """Of requests whose output length is not recorded."""
        return self._options.max_tokens if self._options.ignore_eos else None

    def _text(self, arrival: LevelArrival, place: int, with_system_prompt: bool) -> str:
        number = arrival.level * _LEVEL_STEP + arrival.number
        tokens = self._input_tokens[place]
        head_tokens = self._calibration.head_tokens["on" if with_system_prompt else "off"]
        if self._blocks is None or arrival.warm_up:
            return self._maker.text(number, tokens, head_tokens)
        return self._blocks.text(number, tokens, head_tokens, self._plan.hash_ids(place))

    def _shareable(self, arrival: LevelArrival, place: int, with_system_prompt: bool) -> Shareable | None:
        """What a prefix cache may hold of the request; None where it is not known how the engine caches."""
        options, calibration = self._options, self._calibration
        if (block_tokens := options.cache.block_tokens) is None:
            return None
        if not options.cache.shares:
            return Shareable(block_tokens, template_start(calibration.head_tokens.get("off", 0)))
        if not calibration.includes_template:
            return None
        mode = "on" if with_system_prompt else "off"
        parts = list(shared_beginnings(mode, calibration.head_tokens[mode], None, 0))
        if self._shared is not None and not arrival.warm_up:
            found = self._shared.beginnings(place)
            parts += [SharedPart(key_of("block", mode, each.key, each.is_end), each.least, each.most) for each in found]
        return Shareable(block_tokens, tuple(parts))


def _written(content: RowContent, place: int, count_tokens: Callable[[str], int]) -> Prompt:
    """The prompt of a recorded text."""
    found = content.conversation
    prompt = Prompt(
        found.text,
        0,
        id=str(place + 1),
        system=found.system,
        earlier=found.earlier,
        body_overrides=content.body_overrides,
        later=found.later,
        tool_fields=found.tool_fields,
    )
    return replace(prompt, tokens=sum(count_tokens(message.text) for message in prompt.messages))
