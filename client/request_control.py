"""What users change of requests: body, sampling, endpoint and path. The options, and the frozen record they make."""

from __future__ import annotations

import hashlib
import re
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from tokenswarm.client.option_values import OptionError, choice_of, whole_number
from tokenswarm.command_line import Collected, OptionAdder, collect_errors
from tokenswarm.engines import Sampling, merged
from tokenswarm.sanitize import UnusableFile, hide, json_error_text, read_text

#: Not an option: the template, `row_models` and the adaptations that a run was started with, sent to workers with the
#: options, in which --model is then the run's model, given or detected.
RUN_REQUESTS = "run_requests"
_MOST_BODY_BYTES = 2**20
#: Fields of the texts of a request.
_TEXTS = ("messages", "prompt", "input")
_CAPS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_SECRET_QUERY = re.compile(r"(?<=[?&])([^=&]*(?:key|token|secret|sig|code|password)[^=&]*)=([^&]+)", re.IGNORECASE)


class Endpoint(StrEnum):
    """Which of OpenAI's endpoints requests go to."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    RESPONSES = "responses"


class MaxTokensField(StrEnum):
    """Which field caps an answer. auto: max_tokens, unless the server refuses it before the run."""

    AUTO = "auto"
    MAX_TOKENS = "max_tokens"
    MAX_COMPLETION_TOKENS = "max_completion_tokens"


@dataclass(frozen=True, slots=True)
class Adaptations:
    """How requests differ from what the options say, because the server refused that before the run. max_tokens_field
    and path: "" as the options say. no_usage_option: requests do not set stream_options. system_in_prompt:
    the system prompt is put before the first user message."""

    max_tokens_field: str = ""
    path: str = ""
    no_usage_option: bool = False
    system_in_prompt: bool = False


@dataclass(frozen=True, slots=True)
class RequestControl:
    """template: JSON fields for every request's body; null deletes one. path "": the engine's own, below --host.
    may_fold_system: whether the system prompt may be put into the first user message where the server refuses it.
    headers: names of further headers, as `custom_headers` takes them. row_models: whether the model that a prompt's row
    names is requested, as neither --model nor --models was given. images: files and synthetic ones, as `load_images`
    takes them."""

    template: Mapping[str, Any] = field(default_factory=dict)
    sampling: Sampling = field(default_factory=Sampling)
    endpoint: Endpoint = Endpoint.CHAT
    path: str = ""
    max_tokens_field: MaxTokensField = MaxTokensField.AUTO
    may_fold_system: bool = False
    headers: tuple[str, ...] = ()
    header_file: str | None = None
    row_models: bool = False
    images: tuple[str, ...] = ()
    adaptations: Adaptations = field(default_factory=Adaptations)

    @property
    def request_path(self) -> str:
        """The path that requests are posted to, "" for the engine's own."""
        return self.path or self.adaptations.path

    @classmethod
    def of(cls, options: Namespace, errors: Collected) -> RequestControl:
        """Check and convert; what is wrong goes to `errors`."""
        of = errors.of
        sent = getattr(options, RUN_REQUESTS, None) or {}
        template = sent["template"] if "template" in sent else of(_template, options)
        of(_check_images, options)
        return cls(
            template=template or {},
            sampling=_sampling(options, errors),
            endpoint=of(choice_of, Endpoint, "--endpoint", options.endpoint),
            path=of(_path, options.path, options.endpoint),
            max_tokens_field=of(choice_of, MaxTokensField, "--max-tokens-field", options.max_tokens_field),
            may_fold_system=options.fold_system_prompt,
            headers=tuple(options.header or ()),
            header_file=options.header_file or None,
            row_models=sent.get("row_models", not (options.model or options.models)),
            images=tuple(options.image or ()),
            adaptations=Adaptations(**sent.get("adaptations", {})),
        )

    def facts(self, changes: tuple[Mapping[str, Any], ...]) -> dict[str, Any]:
        """What run.json records of the requests. changes: what is merged into each body, sampling included."""
        body: dict[str, Any] = {}
        for each in changes:
            body = with_nulls(body, each)
        return {
            "endpoint": self.endpoint.value,
            "path": self.request_path or None,
            "row_models": self.row_models,
            "body": body,
            "body_sha256": hashlib.sha256(msgspec.json.encode(body, order="deterministic")).hexdigest(),
            "headers": sorted(entry.partition(":")[0] for entry in self.headers),
            "adaptations": {name: value for name, value in asdict(self.adaptations).items() if value},
        }


def with_nulls(fields_before: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """As `merged`, but a null stays, so that the result deletes what the changes do."""
    deleted = {name: None for name, value in changes.items() if value is None}
    return merged(fields_before, changes) | deleted


def add_request_control(option: OptionAdder) -> None:
    """Give Locust's parser the options of this module."""
    _add_body_options(option)
    _add_sampling_options(option)
    option.choice(
        "--endpoint",
        Endpoint,
        Endpoint.CHAT,
        "which endpoint of an OpenAI-compatible server requests go to: chat, completions (the prompt as plain text, or "
        "as --chat-template has it) or responses",
    )
    option(
        "--path",
        "where requests are posted, below --host; {model} stands for the model, and a query may follow; empty: the "
        "engine's own",
        include_in_web_ui=False,
    )
    option.repeated(
        "--header",
        'header of every request, "Name: value"; may be given several times. Values are neither saved nor sent '
        'to workers, each of which needs the option; "Name: $VARIABLE" takes the value from the environment',
        metavar="HEADER",
        include_in_web_ui=False,
    )
    option(
        "--header-file",
        'file of further headers, one "Name: value" a line; each machine reads its own',
        include_in_web_ui=False,
    )
    option.repeated(
        "--image",
        "image that requests carry beside their text: a PNG, JPEG, WebP or GIF file, or synthetic:WIDTHxHEIGHT; "
        "several images are used in turn (docs/requests.md#images)",
        metavar="IMAGE",
        include_in_web_ui=False,
    )
    option.switch(
        "--fold-system-prompt",
        "where the server refuses system messages, put the system prompt before the first user message",
    )


def _add_body_options(option: OptionAdder) -> None:
    option(
        "--body",
        "JSON object that is merged into the body of every request (docs/requests.md#the-body); null deletes a field; "
        "fields of a prompt's own row win",
        metavar="JSON",
    )
    option("--body-file", "file with such an object; --body is merged over it")
    option.choice(
        "--max-tokens-field",
        MaxTokensField,
        MaxTokensField.AUTO,
        "field for --max-tokens in the body; auto: max_tokens, or max_completion_tokens where the server refuses that "
        "before the run",
    )


def _add_sampling_options(option: OptionAdder) -> None:
    for name, text in (
        ("temperature", "sampling temperature"),
        ("top-p", "nucleus sampling: share of probability to choose from"),
        ("top-k", "how many of the most likely tokens to choose from"),
        ("presence-penalty", "penalty on tokens that have occurred"),
        ("frequency-penalty", "penalty on tokens by how often they have occurred"),
        ("request-seed", "seed of the server's sampling, the same in every request"),
    ):
        option(f"--{name}", f"{text}; empty: the server's default")
    option("--stop", "text that ends an answer, or a JSON list of texts; empty: the server's default")


def _template(options: Namespace) -> dict[str, Any]:
    """The fields of --body-file with those of --body over them. Raises OptionError."""
    template: dict[str, Any] = {}
    with collect_errors() as errors:
        if options.body_file:
            template = errors.of(_of_body_file, options.body_file) or {}
        if options.body:
            template = with_nulls(template, errors.of(_object, "--body", options.body) or {})
    return template


def _of_body_file(file: str) -> dict[str, Any]:
    try:
        text = read_text(Path(file).expanduser(), _MOST_BODY_BYTES)
    except UnusableFile as error:
        raise OptionError(f"--body-file: the file {file} {error}.") from None
    return _object("--body-file", text)


def _object(option: str, text: str) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise OptionError(f"{option} takes a JSON object, got {text[:40]!r}: {json_error_text(error)}.") from None
    if not isinstance(document, dict):
        raise OptionError(f'{option} takes a JSON object like {{"temperature": 0}}, got {text[:40]!r}.')
    cap = "give --max-tokens (and --max-tokens-field)"
    check_body_fields(option, document, messages="it comes from --prompts", cap=cap)
    return document


def check_body_fields(option: str, fields: Mapping[str, Any], *, messages: str, cap: str) -> None:
    """Whether these fields may be merged into a request's body. messages, cap: what sets the texts of a request and the
    longest answer. Raises OptionErrors."""
    with collect_errors() as errors:
        for name, advice in (dict.fromkeys(_TEXTS, messages) | {"model": "give --model"}).items():
            if name in fields:
                errors.add(OptionError(f"{option} may not set {name}: {advice}."))
        for name in _CAPS:
            if fields.get(name) is not None:
                errors.add(OptionError(f"{option} may not set {name}: {cap}."))
        if fields.get("stream", True) is not True:
            errors.add(OptionError(f"{option} may not turn `stream` off: Tokenswarm measures streams."))


def _check_images(options: Namespace) -> None:
    if options.image and options.endpoint == Endpoint.COMPLETIONS:
        raise OptionError("--image has no effect beside --endpoint completions, which takes text: leave one out.")
    if options.image and options.input_tokens:
        raise OptionError(
            "--image and --input-tokens exclude each other, as the tokens of an image would be in no requested length: "
            "leave one out."
        )


def _path(path: str, endpoint: str) -> str:
    if not path:
        return ""
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path or "#" in path:
        raise OptionError(f"--path takes a path like /v1/chat/completions, got {path!r}.")
    for match in _SECRET_QUERY.finditer(path):
        hide(match[2])
    plain = path.partition("?")[0].rstrip("/")
    meant = endpoint_at(plain)
    if meant is not None and meant.value != endpoint:
        raise OptionError(f"--path {plain} is an endpoint for {meant}: give --endpoint {meant} too.")
    return path


def endpoint_at(path: str) -> Endpoint | None:
    """The endpoint whose usual path this one ends with, None where it says nothing."""
    if path.endswith("/chat/completions"):
        return Endpoint.CHAT
    if path.endswith("/completions"):
        return Endpoint.COMPLETIONS
    return Endpoint.RESPONSES if path.endswith("/responses") else None


def _sampling(options: Namespace, errors: Collected) -> Sampling:
    of = errors.of
    return Sampling(
        temperature=of(_number, "--temperature", options.temperature, 0),
        top_p=of(_number, "--top-p", options.top_p, 0, 1),
        top_k=of(_top_k, options.top_k),
        stop=of(_stop, options.stop),
        presence_penalty=of(_number, "--presence-penalty", options.presence_penalty, -2, 2),
        frequency_penalty=of(_number, "--frequency-penalty", options.frequency_penalty, -2, 2),
        seed=of(_whole, "--request-seed", options.request_seed, 0),
    )


def _number(option: str, text: str, least: float, most: float | None = None) -> float | None:
    if text == "":
        return None
    try:
        number = float(text)
    except (TypeError, ValueError):
        number = float("nan")
    if not (abs(number) < float("inf") and least <= number <= (number if most is None else most)):
        numbers = f"of at least {least:g}" if most is None else f"from {least:g} to {most:g}"
        raise OptionError(f"{option} takes a number {numbers}, got {text!r}.")
    return int(number) if number.is_integer() else number


def _top_k(text: str) -> int | None:
    if text == "":
        return None
    try:
        number = int(text)
    except (TypeError, ValueError):
        number = 0
    if number < 1 and number != -1:
        raise OptionError(f"--top-k takes a whole number of at least 1, or -1 for all tokens, got {text!r}.")
    return number


def _whole(option: str, text: str, least: int) -> int | None:
    return None if text == "" else whole_number(option, text, least)


def _stop(text: str) -> tuple[str, ...] | None:
    """A text that is a JSON list is one. Raises OptionError."""
    if not text:
        return None
    if not text.startswith("["):
        return (text,)
    try:
        return tuple(msgspec.json.decode(text, type=list[str]))
    except (msgspec.DecodeError, RecursionError):
        raise OptionError(f'--stop takes a text, or a JSON list like ["\\n", "END"], got {text[:40]!r}.') from None
