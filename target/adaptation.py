"""What a run does about a field that the server refuses before the load: one change of the requests, where that is
safe. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from tokenswarm.client.request_control import Adaptations, Endpoint, MaxTokensField
from tokenswarm.client.request_options import ChatOptions, engine_of
from tokenswarm.engines import ENGINES, OpenAICompatible
from tokenswarm.metrics.timeline import Outcome, Timeline

#: HTTP statuses of a body that is refused for what it holds, and of a route that is not there.
_BODY_REFUSED = frozenset({400, 422, 501})
_NO_ROUTE = frozenset({404, 405})
#: How servers say that they do not take a field at all. A value out of range is something else.
_NOT_TAKEN = re.compile(
    r"unsupported|not[ _]supported|(does|do)( not|n't) support|unknown|unrecogni[sz]ed|unexpected|no such|deprecated|"
    r"extra (inputs|fields)|extra_forbidden|not (permitted|allowed|accepted)|additional propert|instead|"
    r"use 'max_completion",
    re.IGNORECASE,
)
_CAP = re.compile(r"\bmax_tokens\b|\bmax_completion_tokens\b")
_USAGE = re.compile(r"\bstream_options\b|\binclude_usage\b")
_SYSTEM = re.compile(r"\bsystem\b|roles? must alternate|only user and assistant", re.IGNORECASE)
_ROLE_REFUSED = re.compile(f"{_NOT_TAKEN.pattern}|must alternate|only user and assistant|invalid role", re.IGNORECASE)

#: What each adaptation means, for the log and the report.
MEANINGS: Mapping[str, str] = {
    "max_tokens_field": "requests set {value} in place of max_tokens, which the server refuses",
    "path": "requests go to {value} below --host, as nothing answers at the engine's own path",
    "no_usage_option": "requests leave stream_options out, as the server refuses it: it may report no token counts",
    "system_in_prompt": "the system prompt stands before the first user message, as the server refuses system messages",
}


@dataclass(frozen=True, slots=True)
class RefusedRequest:
    """A request that failed. with_system_prompt: whether it had one."""

    timeline: Timeline
    with_system_prompt: bool

    @property
    def text(self) -> str:
        """What the server says."""
        return self.timeline.error or ""

    @property
    def of_system_role(self) -> bool:
        """Whether the server refuses messages of the role system."""
        return self.with_system_prompt and bool(_SYSTEM.search(self.text) and _ROLE_REFUSED.search(self.text))


def adaptation(refused: RefusedRequest, options: ChatOptions, prefix: str = "") -> Adaptations | None:
    """The adaptations with one more that may make the server take the request, None where no safe one is known. Each
    is made once: with it, the same refusal has none. prefix: of --host's path."""
    status = refused.timeline.status or 0
    openai = isinstance(ENGINES[options.engine], OpenAICompatible)
    if refused.timeline.outcome is not Outcome.HTTP_ERROR or not openai:
        return None
    if status in _NO_ROUTE:
        return _path_below_host(options) if prefix else None
    if status not in _BODY_REFUSED:
        return None
    adapted = _without_system_role(options) if refused.of_system_role else _with_other_fields(refused.text, options)
    return adapted if adapted != options.control.adaptations else None


def _without_system_role(options: ChatOptions) -> Adaptations:
    now = options.control.adaptations
    return replace(now, system_in_prompt=True) if options.control.may_fold_system else now


def _with_other_fields(text: str, options: ChatOptions) -> Adaptations:
    control, now = options.control, options.control.adaptations
    if not _NOT_TAKEN.search(text) or control.endpoint is Endpoint.RESPONSES:
        return now
    if _CAP.search(text):
        may = control.max_tokens_field is MaxTokensField.AUTO
        return replace(now, max_tokens_field=MaxTokensField.MAX_COMPLETION_TOKENS.value) if may else now
    return replace(now, no_usage_option=True) if _USAGE.search(text) else now


def _path_below_host(options: ChatOptions) -> Adaptations | None:
    """A base address such as http://host/api/llm, to which OpenAI's clients add /chat/completions alone."""
    path = engine_of(options).path
    if options.control.request_path or not path.startswith("/v1/"):
        return None
    return replace(options.control.adaptations, path=path.removeprefix("/v1"))


def meanings(adaptations: Adaptations) -> list[str]:
    """Each adaptation as a clause."""
    return [MEANINGS[name].format(value=value) for name, value in asdict(adaptations).items() if value]
