"""The sessions of one worker, each request with the lengths that are requested of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from hashlib import blake2b

import gevent

from tokenswarm.client.chat_session import ChatSession, DrawnPrompt
from tokenswarm.client.option_values import OptionError
from tokenswarm.client.request_options import ChatOptions, model_for
from tokenswarm.engines import EncodedImage
from tokenswarm.metrics.timeline import NO_SESSION, SessionPlace
from tokenswarm.prompts import Prompt, PromptMarker, PromptSet, Sampler, SessionSampler, SessionTurn, estimate_tokens
from tokenswarm.prompts.images import RunImage
from tokenswarm.prompts.synthetic.length_plan import RequestLengths
from tokenswarm.prompts.synthetic.synthetic_prompts import SyntheticPrompts, SyntheticSource, request_number
from tokenswarm.prompts.synthetic.text_maker import TextMaker


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
        counted = count_tokens or estimate_tokens
        self._marker = PromptMarker(options.prompt_reuse, options.prompt_nonce, marking_worker, counted)
        if isinstance(prompts, SyntheticSource):
            self._synthetic = _synthetic(options, prompts, count_tokens)
        elif self._has_sessions:
            self._sessions = SessionSampler(prompts, options.seed)
        else:
            self._sampler = Sampler(prompts, options.seed, worker)
        calibration = options.lengths.calibration
        #: Where each text has to be counted, which takes milliseconds: the hub has arrivals to stamp.
        self._in_thread = calibration is not None and not calibration.adds_up and calibration.source == "tokenizer"
        self._id_start = _id_start(options.prompt_nonce)

    def session(self, place: int, with_system_prompt: bool) -> ChatSession:
        """The worker's session of this place (from 0)."""
        options = self._options
        number = request_number(self._worker, options.lengths.workers, place)
        lengths = options.lengths.of_request(options.seed, number)
        if lengths.input is None:
            prompt = self._drawn(number, place)
            turns, make_turn = 1 + len(prompt.turns), None
        else:
            prompt = self._made(number, lengths.input, "on" if with_system_prompt else "off")
            turns = options.sessions.turns_of(options.seed, number)
            make_turn = partial(self._made_turn, number)
        if lengths.output is not None:
            prompt = replace(prompt, max_tokens=lengths.output)
        lengths = self._with_exact_output(lengths, prompt.max_tokens)
        # A session has one model.
        mix = options.models
        model = mix.model_of(options.seed, number) if mix else model_for(options, prompt.model)
        in_session = SessionPlace(f"{self._id_start}{number}", 1, turns) if self._has_sessions else NO_SESSION
        first = DrawnPrompt(prompt, lengths, self._image(number, place), model, number, in_session)
        return ChatSession(first, turns, options.sessions.answers, make_turn, partial(self._lengths_of, number, prompt))

    def draw(self, place: int, with_system_prompt: bool) -> DrawnPrompt:
        """The first request of the worker's session of this place (from 0)."""
        return self.session(place, with_system_prompt).next()

    def _drawn(self, number: int, place: int) -> Prompt:
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

    def _made(self, number: int, tokens: int, mode: str) -> Prompt:
        if not self._in_thread:
            return self._synthetic.prompt(number, tokens, mode)
        prompt: Prompt = gevent.get_hub().threadpool.apply(self._synthetic.prompt, (number, tokens, mode))
        return prompt

    def _made_turn(self, number: int, turn: int) -> tuple[SessionTurn, RequestLengths]:
        """A turn (from 2) of the synthetic session of this number. The length of its whole prompt, answers and all, is
        not requested."""
        lengths = self._options.lengths.of_request(self._options.seed, number, turn)
        assert lengths.input is not None
        arguments = number, turn, lengths.input
        if self._in_thread:
            text = gevent.get_hub().threadpool.apply(self._synthetic.message, arguments)
        else:
            text = self._synthetic.message(*arguments)
        return SessionTurn(text, lengths.input), self._with_exact_output(lengths._replace(input=None), None)


def has_sessions(options: ChatOptions, prompts: PromptSet | SyntheticSource) -> bool:
    """Whether requests belong to sessions that the run's results name: some have several turns, or a header names
    them."""
    if options.sessions.header:
        return True
    return prompts.turns is not None if isinstance(prompts, SyntheticSource) else prompts.stats.sessions > 0


def _id_start(nonce: str) -> str:
    """What the ids of a run's sessions begin with, so that no two runs share one; nonce: of the run."""
    return f"{blake2b(nonce.encode('utf-8', 'surrogatepass'), digest_size=4).hexdigest()}-" if nonce else ""


def encoded(image: RunImage, mark: bytes) -> EncodedImage:
    """The image as a request holds it; mark: see `PromptMarker.image_mark`."""
    return EncodedImage(image.data_url(mark), image.digest(mark))


def _synthetic(
    options: ChatOptions, source: SyntheticSource, count_tokens: Callable[[str], int] | None
) -> SyntheticPrompts:
    calibration = options.lengths.calibration
    if calibration is None:
        raise OptionError("--input-tokens: the lengths of texts are not calibrated yet; start the run on its master.")
    if calibration.adds_up or calibration.source != "tokenizer":
        return SyntheticPrompts(source, calibration, options.prompt_nonce)
    maker = TextMaker(calibration.costs, f"{source.seed}/{options.prompt_nonce}", count=count_tokens)
    return SyntheticPrompts(source, calibration, options.prompt_nonce, maker)
