"""The prompts of one worker's requests, each with the lengths that are requested of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import gevent

from tokenswarm.client.option_values import OptionError
from tokenswarm.client.request_options import ChatOptions, model_for
from tokenswarm.engines import EncodedImage
from tokenswarm.prompts import Prompt, PromptMarker, PromptSet, Sampler, estimate_tokens
from tokenswarm.prompts.images import RunImage
from tokenswarm.prompts.synthetic.length_plan import RequestLengths
from tokenswarm.prompts.synthetic.synthetic_prompts import SyntheticPrompts, SyntheticSource, request_number
from tokenswarm.prompts.synthetic.text_maker import TextMaker


class DrawnPrompt(NamedTuple):
    """A prompt, the lengths in tokens that the run's options request of its request, its image, the model of its
    request, and the run's number of that request."""

    prompt: Prompt
    lengths: RequestLengths = RequestLengths(None, None)
    image: EncodedImage | None = None
    model: str = ""
    number: int = 0


class PromptSupply:
    """Draws the prompts of one worker: from a data set, marked as --prompt-reuse requires, or synthetic ones."""

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
        self._marker = PromptMarker(options.prompt_reuse, options.prompt_nonce, worker, count_tokens or estimate_tokens)
        if isinstance(prompts, SyntheticSource):
            self._synthetic = _synthetic(options, prompts, count_tokens)
        else:
            self._sampler = Sampler(prompts, options.seed, worker)
        calibration = options.lengths.calibration
        #: Where each text has to be counted, which takes milliseconds: the hub has arrivals to stamp.
        self._in_thread = calibration is not None and not calibration.adds_up and calibration.source == "tokenizer"

    def draw(self, place: int, with_system_prompt: bool) -> DrawnPrompt:
        """The prompt of the worker's request of this place (from 0)."""
        options = self._options
        number = request_number(self._worker, options.lengths.workers, place)
        lengths = options.lengths.of_request(options.seed, number)
        if lengths.input is None:
            prompt = self._marker.mark(self._sampler.draw(), place)
        else:
            mode = "on" if with_system_prompt else "off"
            prompt = self._made(number, lengths.input, mode)
        if lengths.output is not None:
            prompt = replace(prompt, max_tokens=lengths.output)
        elif options.ignore_eos:
            lengths = lengths._replace(output=options.max_tokens if prompt.max_tokens is None else prompt.max_tokens)
        # A request is a session of its own: it and the conversation that it holds have one model.
        mix = options.models
        model = mix.model_of(options.seed, number) if mix else model_for(options, prompt.model)
        return DrawnPrompt(prompt, lengths, self._image(number, place), model, number)

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
