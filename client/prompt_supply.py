"""The sessions of one worker, each request with the lengths that are requested of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any

import gevent
from msgspec.structs import replace

from tokenswarm.client.chat_session import ChatSession, DrawnPrompt
from tokenswarm.client.made_prompts import MadePrompts
from tokenswarm.client.option_values import OptionError
from tokenswarm.client.request_options import ChatOptions, model_for
from tokenswarm.engines import EncodedImage
from tokenswarm.metrics.shareable import Shareable, shared_beginnings, template_start
from tokenswarm.metrics.timeline import NO_SESSION, SessionPlace
from tokenswarm.prompts import (
    Prompt,
    PromptMarker,
    PromptReuse,
    PromptSet,
    Sampler,
    SessionSampler,
    SessionTurn,
    SubAgent,
    estimate_tokens,
)
from tokenswarm.prompts.images import RunImage
from tokenswarm.prompts.nonces import NONCE_DIGITS
from tokenswarm.prompts.synthetic.calibration import text_maker
from tokenswarm.prompts.synthetic.length_plan import RequestLengths
from tokenswarm.prompts.synthetic.shared_prefixes import PrefixMaker, with_prefix
from tokenswarm.prompts.synthetic.synthetic_prompts import (
    HEAD_TOKENS,
    SyntheticPrompts,
    SyntheticSource,
    request_number,
)
from tokenswarm.prompts.synthetic.text_maker import NO_PREFIX, TextMaker
from tokenswarm.prompts.synthetic.word_costs import HEAD
from tokenswarm.prompts.traces.trace_source import TraceSource

#: The name of the agent that a session begins with.
FIRST_AGENT = "main"
#: A prompt, and what its system prompt begins with.
_Texts = tuple[Prompt, str]


class PromptSupply:
    """Draws the sessions of one worker: from a data set, marked as --prompt-reuse requires, or synthetic ones. Without
    sessions of several turns, each request is a session of its own."""

    def __init__(
        self,
        options: ChatOptions,
        prompts: PromptSet | SyntheticSource,
        count_tokens: Callable[[str], int] | None,
        worker: int,
        images: Sequence[RunImage] = (),
    ) -> None:
        """Raises PromptError, OptionError."""
        self._options = options
        self._worker = worker
        self._images = images
        self._has_sessions = has_sessions(options, prompts)
        #: Sessions are numbered over the run, and marked by that number: any number of workers sends the same ones.
        self._is_from_start = self._has_sessions and worker < options.lengths.workers
        marking_worker = 0 if self._is_from_start else worker
        self._count_tokens = count_tokens or estimate_tokens
        reuse = options.prompt_reuse if options.cache.shares else PromptReuse.NEVER
        self._marker = PromptMarker(reuse, options.prompt_nonce, marking_worker, self._count_tokens)
        calibration, plan = options.lengths.calibration, options.cache.prefix
        self._maker = text_maker_of(options, count_tokens) if makes_texts(options, prompts) else None
        self._prefixes: PrefixMaker | None = None
        if self._maker and plan:
            self._prefixes = PrefixMaker(plan, options.seed, self._maker, is_shared=options.cache.shares)
        self._synthetic: SyntheticPrompts | None = None
        if isinstance(prompts, SyntheticSource):
            self._synthetic = SyntheticPrompts(calibration, self._maker) if self._maker and calibration else None
        elif self._has_sessions:
            self._sessions = SessionSampler(prompts, options.seed)
        else:
            self._sampler = Sampler(prompts, options.seed, worker)
        #: Where each text has to be counted, which takes milliseconds: the hub has arrivals to stamp.
        self._in_thread = calibration is not None and not calibration.adds_up and calibration.source == "tokenizer"
        self._id_start = id_start(options.prompt_nonce)
        self._made: MadePrompts | None = None
        self._has_agents = False
        if isinstance(prompts, PromptSet) and prompts.stats.made and self._maker and calibration:
            self._made = MadePrompts(options, calibration, self._maker, self._in_place)
            self._has_agents = prompts.stats.agents > 0

    def session(self, place: int, with_system_prompt: bool) -> ChatSession:
        """The worker's session of this place (from 0)."""
        options = self._options
        number = request_number(self._worker, options.lengths.workers, place)
        lengths = options.lengths.of_request(options.seed, number)
        row = self._drawn(number, place) if lengths.input is None else None
        prompt, mark = self._in_place(self._texts, row, number, place, lengths.input, with_system_prompt)
        if row is not None:
            turns, make_turn = 1 + len(prompt.turns), None
        else:
            turns = options.sessions.turns_of(options.seed, number)
            make_turn = partial(self._made_turn, number)
        if lengths.output is not None:
            prompt = replace(prompt, max_tokens=lengths.output)
        lengths = self._with_exact_output(lengths, prompt.max_tokens)
        # A session has one model.
        mix = options.models
        model = mix.model_of(options.seed, number) if mix else model_for(options, prompt.model)
        in_session = SessionPlace(f"{self._id_start}{number}", 1, turns) if self._has_sessions else NO_SESSION
        group = self._prefixes.group(number) if self._prefixes else None
        first = DrawnPrompt(prompt, lengths, self._image(number, place), model, number, in_session, mark, group)
        if prompt.parts:
            return self._made_session(first, "on" if with_system_prompt else "off")
        first = first._replace(shareable=self._shareable(first, turns, with_system_prompt))
        return ChatSession(
            first,
            turns,
            options.sessions.answers,
            make_turn,
            partial(self._lengths_of, number, prompt),
            longest_delay_s=options.sessions.longest_delay_s,
        )

    def draw(self, place: int, with_system_prompt: bool) -> DrawnPrompt:
        """The first request of the worker's session of this place (from 0)."""
        return self.session(place, with_system_prompt).next()

    def place_in_round(self, round_number: int, least: int) -> int | None:
        """The first place from this one on whose session is of that round, in which each session of the data set begins
        once over all workers; None where this worker has none left of it."""
        workers, sessions = self._options.lengths.workers, len(self._sessions)
        if self._worker >= workers:  # it joined when the sessions had been divided
            return None
        place = max(least, -(-(round_number * sessions - self._worker) // workers))
        number = request_number(self._worker, workers, place)
        return place if number < (round_number + 1) * sessions else None

    def _made_session(self, first: DrawnPrompt, mode: str) -> ChatSession:
        """A session whose prompts are made of parts. first: its first request, whose text is yet to be made."""
        assert self._made is not None
        prompt, made = first.prompt, self._made
        longest_s = self._options.sessions.longest_delay_s
        if self._has_agents:
            place = first.place._replace(agent=FIRST_AGENT, session_requests=prompt.requests)
            first = first._replace(place=place)

        def next_prompt(before: DrawnPrompt, turn: SessionTurn) -> DrawnPrompt:
            return made.drawn(before, turn, mode)

        def open_agent(agent: SubAgent, place: SessionPlace) -> ChatSession:
            turn, *others = agent.turns
            named = f"{prompt.custom_id}/{agent.name}" if agent.name else prompt.custom_id
            of_agent = replace(prompt, custom_id=named, turns=tuple(others))
            drawn = made.drawn(first._replace(prompt=of_agent, place=place), turn, mode)
            return session_of(drawn, len(agent.turns))

        def session_of(drawn: DrawnPrompt, turns: int) -> ChatSession:
            return ChatSession(drawn, turns, open_agent=open_agent, make_prompt=next_prompt, longest_delay_s=longest_s)

        return session_of(made.drawn(first, prompt, mode), 1 + len(prompt.turns))

    def _drawn(self, number: int, place: int) -> Prompt:
        if self._made is not None:
            return self._sessions.prompt(number) if self._has_sessions else self._sampler.draw()
        if self._has_sessions:
            return self._marker.mark(self._sessions.prompt(number), number if self._is_from_start else place)
        return self._marker.mark(self._sampler.draw(), place)

    def _lengths_of(self, number: int, prompt: Prompt, turn: int) -> RequestLengths:
        """What is requested of the request of a turn (from 2) of a data set's session."""
        lengths = self._options.lengths.of_request(self._options.seed, number, turn)
        return self._with_exact_output(lengths, prompt.turns[turn - 2].max_tokens)

    def _with_exact_output(self, lengths: RequestLengths, max_tokens: int | None) -> RequestLengths:
        """max_tokens: of the request, None for the run's."""
        if lengths.output is not None or not self._options.ignore_eos:
            return lengths
        return lengths._replace(output=self._options.max_tokens if max_tokens is None else max_tokens)

    def _image(self, number: int, place: int) -> EncodedImage | None:
        """The next image, of several in their order over the requests of all workers."""
        if not self._images:
            return None
        return encoded(self._images[number % len(self._images)], self._marker.image_mark(place))

    def _in_place(self, make: Callable[..., Any], *arguments: Any) -> Any:
        """What `make` returns, called here, or in a thread where it takes milliseconds."""
        return gevent.get_hub().threadpool.apply(make, arguments) if self._in_thread else make(*arguments)

    def _texts(
        self, row: Prompt | None, number: int, place: int, tokens: int | None, with_system_prompt: bool
    ) -> _Texts:
        """The prompt, and the mark of its system prompt. row: of a data set, None for a synthetic prompt."""
        prefix = self._prefixes.prefix(number) if self._prefixes else NO_PREFIX
        mark = self._system_mark(number, place) if with_system_prompt and not self._options.cache.shares else ""
        if row is None:
            assert self._synthetic is not None and tokens is not None
            return self._synthetic.prompt(number, tokens, "on" if with_system_prompt else "off", prefix), mark
        if self._prefixes is not None and not row.parts:
            row = with_prefix(row, prefix, self._count_tokens(HEAD), own_system=not with_system_prompt)
        return row, mark

    def _shareable(self, drawn: DrawnPrompt, turns: int, with_system_prompt: bool) -> Shareable | None:
        """What a prefix cache may hold of the first request of a session of so many turns; None where it is not known
        how many tokens its parts have, or how the engine caches."""
        options = self._options
        calibration, block_tokens = options.lengths.calibration, options.cache.block_tokens
        if block_tokens is None:
            return None
        if not options.cache.shares:
            head_tokens = calibration.head_tokens.get("off", 0) if calibration else 0
            return Shareable(block_tokens, template_start(head_tokens))
        if calibration is None or not calibration.includes_template:
            return None
        mode, plan = "on" if with_system_prompt else "off", options.cache.prefix
        head_tokens = calibration.head_tokens[mode]
        beginnings = shared_beginnings(mode, head_tokens, drawn.group, plan.tokens if plan else 0)
        repeats = self._synthetic is None and options.prompt_reuse is not PromptReuse.NEVER
        found = Shareable(block_tokens, beginnings, repeats, in_session=turns > 1)
        return found.offering(drawn.number, 1)

    def _system_mark(self, number: int, place: int) -> str:
        """What a system prompt that no other request is to share begins with: as many tokens in each request, where
        lengths are requested."""
        if self._synthetic is not None and self._maker is not None:
            return system_mark(self._maker, number)
        return self._marker.start(number if self._is_from_start else place)

    def _made_turn(self, number: int, turn: int) -> tuple[SessionTurn, RequestLengths]:
        """A turn (from 2) of the synthetic session of this number. Its requested input tokens are those that it adds to
        the prompt before and the answer to that; None where that is not known."""
        lengths = self._options.lengths.of_request(self._options.seed, number, turn)
        assert lengths.input is not None and self._synthetic is not None
        text = self._in_place(self._synthetic.message, number, turn, lengths.input)
        calibration, added = self._options.lengths.calibration, None
        if calibration is not None and calibration.turn_tokens is not None:
            added = max(0, lengths.input - HEAD_TOKENS) + calibration.turn_tokens
        return SessionTurn(text, lengths.input), self._with_exact_output(lengths._replace(input=added), None)


def makes_texts(options: ChatOptions, prompts: PromptSet | SyntheticSource | TraceSource) -> bool:
    """Whether texts of stated lengths are made, so that these are calibrated before the run."""
    return options.makes_texts or (isinstance(prompts, PromptSet) and prompts.stats.made > 0)


def has_sessions(options: ChatOptions, prompts: PromptSet | SyntheticSource) -> bool:
    """Whether requests belong to sessions that the run's results name: some have several turns, or a header names
    them."""
    if options.sessions.header:
        return True
    return prompts.turns is not None if isinstance(prompts, SyntheticSource) else prompts.stats.sessions > 0


def id_start(nonce: str) -> str:
    """What the ids of a run's sessions begin with, so that no two runs share one; nonce: of the run."""
    return f"{blake2b(nonce.encode('utf-8', 'surrogatepass'), digest_size=4).hexdigest()}-" if nonce else ""


def encoded(image: RunImage, mark: bytes) -> EncodedImage:
    """The image as a request holds it; mark: see `PromptMarker.image_mark`."""
    return EncodedImage(image.data_url(mark), image.digest(mark))


def system_mark(maker: TextMaker, number: int) -> str:
    """What the system prompt of the run's request of this number begins with, always of the same number of tokens."""
    return f"{HEAD}{maker.prefix(number, maker.mark_tokens, 'system mark').text}\n\n"


def turn_mark(nonce: str, drawn: DrawnPrompt) -> str:
    """What a later turn begins with that is to share nothing with the turns before. nonce: of the run."""
    text = f"{nonce}/{drawn.number}/{drawn.place.turn}"
    return f"{blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=NONCE_DIGITS // 2).hexdigest()}\n\n"


def text_maker_of(options: ChatOptions, count_tokens: Callable[[str], int] | None) -> TextMaker:
    """The maker of a run's texts. Raises OptionError."""
    calibration = options.lengths.calibration
    if calibration is None:
        raise OptionError(
            "--input-tokens, --prefix, --trace: lengths of texts are not calibrated yet; start the run on its master."
        )
    return text_maker(calibration, f"{options.seed}/{options.prompt_nonce}", count_tokens)
