"""The whole inquiry: who answers, what connecting costs, and the few questions that show how it answers."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gevent
import msgspec

from engines import ENGINES, ChatRequest, Engine, EngineError, Found, NotReady
from engines.openai import OpenAICompatible
from engines.server_metrics import Concept, MetricsUnreadable
from probe.asking import CountTokens, ask
from probe.dialing import Dialed, dial
from probe.findings import Option, Stories, misleading, options_followed, prefix_cache, reaches_the_limit
from probe.story import Story
from prompts import load_system_prompt
from users.options import Timeouts, request_headers
from users.server import Inquiry, found_ready, model_of
from users.server_metrics import MetricsPage, NothingThere, metrics_pages
from wire import Origin, StreamClient, TlsSettings, WireError

QUESTION = "Describe, in a few sentences, how a lighthouse keeper spent a night a hundred years ago."
#: A model says a word or two, unless it may not end.
BRIEF_QUESTION = "Is water wet? Answer with one word."
#: Of the questions whose answers matter less. Services may have a least length of their own.
_BRIEF_TOKENS = 64
_SHORT_TOKENS = 16
#: A server that closes after its answer has done so by then.
_CLOSES_WITHIN_S = 0.1


class ProbeError(ValueError):
    """The server cannot be told of; the text is one sentence."""


class Told(msgspec.Struct, frozen=True):
    """Everything that is told of a server: `--json` is this."""

    host: str
    engine: str
    version: str | None
    gateway: str | None
    model: str
    evidence: list[str]
    dialed: Dialed
    story: Story
    options: list[Option]
    server_metrics: str | None
    misleading: list[str]


@dataclass(frozen=True, slots=True)
class Probe:
    """Whom to ask and how. engine None: find out. model "": the only one that the server names."""

    host: str
    origin: Origin
    engine: str | None
    model: str
    max_tokens: int
    timeouts: Timeouts
    tls: TlsSettings
    count_tokens: CountTokens | None = None

    def tell(self) -> Told:
        """Ask, and tell. Raises ProbeError, OptionError."""
        try:
            dialed = dial(self.origin, self.timeouts.connect_s, self.tls.context())
        except OSError as error:
            raise ProbeError(f"{self.host} cannot be reached: {error.strerror or error}.") from None
        found = self._recognised()
        engine, model = ENGINES[found.engine], model_of(self.model, found, self.host)
        client = self._client(request_headers(engine))
        page = self._metrics_page(found.engine, engine)
        try:
            stories, kept_alive = self._questioned(client, engine, model, found, page)
        finally:
            client.close()
        return Told(
            host=self.host,
            engine=found.engine,
            version=found.version,
            gateway=found.gateway,
            model=model,
            evidence=found.evidence,
            dialed=dialed,
            story=stories.plain,
            options=[*options_followed(stories), prefix_cache(stories)],
            server_metrics=page.url if page else None,
            misleading=misleading(stories, kept_alive, self.count_tokens is not None),
        )

    def _client(self, headers: dict[str, str]) -> StreamClient:
        return StreamClient(self.origin, self.timeouts.connect_s, headers, self.tls.context())

    def _recognised(self) -> Found:
        client = self._client(request_headers(ENGINES[self.engine or "openai"]))
        try:
            return found_ready(Inquiry(client), self.engine)
        except NotReady as late:
            raise ProbeError(f"{self.host} is not ready: {late}; ask again when it is.") from None
        except EngineError as error:
            raise ProbeError(f"{self.host}: {error}.") from None
        finally:
            client.close()

    def _questioned(
        self, client: StreamClient, engine: Engine, model: str, found: Found, page: MetricsPage | None
    ) -> tuple[Stories, bool]:
        """The stories, and whether the first one's connection was kept. Raises ProbeError."""
        question = ChatRequest(model=model, prompt=QUESTION, system_prompt=None, max_tokens=self.max_tokens)
        least = found.max_tokens_range[0] if found.max_tokens_range else 1
        brief = replace(question, prompt=BRIEF_QUESTION, max_tokens=max(_BRIEF_TOKENS, least))
        short = replace(question, max_tokens=max(_SHORT_TOKENS, least))
        # Never sent before: what it costs to compute shows once.
        nonce = secrets.token_hex(8)
        with_system_prompt = replace(short, system_prompt=f"{nonce}\n{load_system_prompt(None)}")

        def asked(request: ChatRequest, how: Engine = engine) -> Story:
            return ask(client, how, request, self.timeouts, self.count_tokens)

        plain = asked(question)
        if plain.outcome != "ok":
            raise ProbeError(f"{self.host} was taken for {found.engine} and asked: {plain.outcome}: {plain.error}.")
        gevent.sleep(_CLOSES_WITHIN_S)
        second = asked(brief)
        exact = asked(replace(brief, ignore_eos=True)) if engine.honours_ignore_eos else None
        mistyped = None
        if exact is not None and _is_plain(engine.exact_length) and reaches_the_limit(second, brief.max_tokens):
            assert engine.exact_length is not None
            wrong = replace(engine, exact_length=_mistyped(engine.exact_length))
            mistyped = asked(replace(brief, ignore_eos=True), wrong)
        unasked = None
        if isinstance(engine, OpenAICompatible) and engine.asks_usage:
            unasked = asked(short, replace(engine, asks_usage=False))
        cold = asked(with_system_prompt)
        before = _cache_hits(page)
        warm = asked(with_system_prompt)
        after = _cache_hits(page)
        cached = None if before is None or after is None else after - before
        stories = Stories(plain, second, exact, brief.max_tokens, mistyped, unasked, cold, warm, cached)
        return stories, second.connect_s == 0

    def _metrics_page(self, name: str, engine: Engine) -> MetricsPage | None:
        """The first of the engine's pages that tells something."""
        for candidate in metrics_pages(name, self.origin, request_headers(engine), self.tls):
            if _read(candidate):
                return candidate
        return None


def _is_plain(options: Mapping[str, Any] | None) -> bool:
    """Whether a server that heeds the options checks their types. One inside another (debug_config of MLC-LLM)
    may be checked and not heeded."""
    return bool(options) and not any(isinstance(value, Mapping) for value in (options or {}).values())


def _mistyped(options: Mapping[str, Any]) -> dict[str, Any]:
    """The same options, each with a text that is no value of it."""
    return dict.fromkeys(options, "neither")


def _read(page: MetricsPage) -> dict[Concept, float]:
    try:
        return page.read()
    except (NothingThere, WireError, MetricsUnreadable):
        return {}


def _cache_hits(page: MetricsPage | None) -> float | None:
    return _read(page).get(Concept.PREFIX_CACHE_HITS_TOTAL) if page else None
