"""What to do about a server that cannot be used: the same sentences before a run and for a probe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokenswarm.client.api_key import KEY_REFUSED
from tokenswarm.client.request_control import Endpoint
from tokenswarm.client.request_options import ChatOptions, engine_of
from tokenswarm.client.server_address import base_url, origin_of
from tokenswarm.engines import DetectedServer, EngineError, PageForbidden, WebPageFound
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.sanitize import (
    BASIC_CHALLENGE,
    NO_KEY,
    UNAUTHORIZED,
    SentKey,
    full_stop,
    key_advice,
    server_text,
    withheld_advice,
)
from tokenswarm.wire import CertificateNotTrusted, ClientCertificateRefused, NoTls, ProxyFailed

NOT_FOUND, TOO_MANY_REQUESTS, SERVER_ERROR, NOT_IMPLEMENTED = 404, 429, 500, 501
#: What servers answer at an address that takes no such request.
_NO_SUCH_ROUTE = {NOT_FOUND, 405, NOT_IMPLEMENTED}
#: Of the models that a server lists, so many are named, with so many characters of each.
_NAMES, _NAME_CHARACTERS = 5, 100


@dataclass(frozen=True, slots=True)
class Failure:
    """How a single request failed. status: HTTP's, None without a response. error: the reason, None where the outcome
    says it all. of_system_role: whether the server refuses messages of the role system. url: where the request was
    posted, "" where that is not known; route_option: the option that set its path, "" for none. names_model: whether
    requests to the engine name the model."""

    outcome: Outcome
    status: int | None
    error: str | None
    of_system_role: bool = False
    url: str = ""
    route_option: str = ""
    names_model: bool = True


def failure_of(timeline: Timeline, options: ChatOptions, host: str, of_system_role: bool = False) -> Failure:
    """How the request failed that these options describe."""
    of_request = timeline.outcome, timeline.status, timeline.error, of_system_role
    names_model = engine_of(options).requests_name_model
    return Failure(*of_request, request_address(options, host), route_option(options), names_model)


def is_overload(status: int) -> bool:
    """Whether a server with this HTTP status is overloaded or failed, so that it may answer the same request later."""
    return status == TOO_MANY_REQUESTS or (status >= SERVER_ERROR and status != NOT_IMPLEMENTED)


def with_advice(error: Exception, host: str) -> str:
    """Why no connection can be had, and what to check."""
    if str(error).endswith("?"):
        return str(error)
    if isinstance(error, NoTls | ProxyFailed | ClientCertificateRefused | CertificateNotTrusted):
        return full_stop(str(error))
    return f"{error}; is --host {host} right{_default_port(host)}, and does it run?"


def _default_port(host: str) -> str:
    port = origin_of(host).port
    named = base_url(host).partition("://")[2].partition("/")[0].endswith(f":{port}")
    return "" if named else f" (it names no port, so that port {port} was tried)"


def with_addresses(text: str, host: str) -> str:
    """The text, with the whole address of each GET where --host has a path before those of requests."""
    return text.replace("GET /", f"GET {base_url(host)}/") if origin_of(host).prefix else text


def request_address(options: ChatOptions, host: str) -> str:
    """Where the requests are posted, without a query."""
    return f"{base_url(host)}{engine_of(options).path_for(options.model)}".partition("?")[0]


def route_option(options: ChatOptions) -> str:
    """The option that sets the path of requests, with its value; "" where the engine does."""
    control = options.control
    if control.path:
        return f"--path {control.path.partition('?')[0]} (or the path of --host)"
    return "" if control.endpoint is Endpoint.CHAT else f"--endpoint {control.endpoint}"


def refusal(error: EngineError, host: str, model: str, sent: SentKey, preflight: bool = True) -> str:
    """Why the server at `host` was not recognised and what to do, as sentences. sent: what authorised the requests to
    it. preflight: whether a request is sent before the run."""
    if isinstance(error, PageForbidden):
        advice = key_advice(error.refused.status, sent, model, error.refused.basic)
        unchecked = "" if preflight else ". To start without that request, give --engine and --model"
        hint = f" {with_addresses(error.hint, host)}." if error.hint else ""
        return f"{host}: {full_stop(with_addresses(str(error), host))} {advice}{unchecked}.{hint}"
    withheld = f" {advice}." if (advice := withheld_advice(sent)) else ""
    if isinstance(error, WebPageFound):
        return (
            f"{host} answers with a web page, not as an LLM server: check address and port. If it is an LLM server, "
            f"name its engine with --engine.{withheld}"
        )
    return f"{host}: {full_stop(with_addresses(str(error), host))}{withheld}"


def engine_advice(found: DetectedServer) -> str:
    """A further sentence where the server looks like another engine than the given one; else ""."""
    if not found.conflicting_engine:
        return ""
    return f" --engine {found.engine} was given, but the server looks like {found.conflicting_engine}: leave it out."


def failure_text(
    failure: Failure,
    kind: str,
    host: str,
    model: str,
    models: Sequence[str] = (),
    sent: SentKey = NO_KEY,
    model_option: str = "--model",
) -> str:
    """Why a request of this kind (such as "without system prompt") failed and what to do, as sentences. models: what
    the server lists; sent: what authorised the request; model_option: the one that named the model."""
    advice = _advice(failure, model, models, sent, model_option)
    reason = full_stop(failure.error or failure.outcome.value)
    verb = (
        "refuses"
        if failure.outcome in (Outcome.HTTP_ERROR, Outcome.CONTEXT_OVERFLOW) and (failure.status or 0) < SERVER_ERROR
        else "does not answer"
    )
    return f"the server at {host} {verb} a request {kind}: {reason} {advice}"


def _advice(failure: Failure, model: str, models: Sequence[str], sent: SentKey, model_option: str) -> str:
    status = failure.status or 0
    if failure.outcome is Outcome.CONTEXT_OVERFLOW:
        return "Give a shorter system prompt, or --system-prompt off, or serve the model with a longer context."
    if failure.outcome is not Outcome.HTTP_ERROR:
        return "Check --host and --engine; `tokenswarm probe` shows a response in full."
    if status in KEY_REFUSED:
        basic = (failure.error or "").startswith(f"HTTP {UNAUTHORIZED}: {BASIC_CHALLENGE}")
        return f"{key_advice(status, sent, model, basic)}."
    if failure.of_system_role:
        return "Give --system-prompt off, or --fold-system-prompt to put it before the first user message."
    if is_overload(status):
        return "The server is overloaded or failed: see its log, and start again when it responds."
    return _route_or_model(failure, model, models, model_option)


def _given_model(model: str, models: Sequence[str], known: Sequence[str]) -> str:
    if not model:
        return "none was given"
    if not known or model in models:
        return repr(model)
    return f"{model!r}; the server lists {', '.join(map(repr, known[:_NAMES]))}"


def _route_or_model(failure: Failure, model: str, models: Sequence[str], model_option: str) -> str:
    """What to check where the server refuses a request for neither its key nor its load."""
    of_model = failure.names_model and "model" in (failure.error or "").lower()
    known = [server_text(name, _NAME_CHARACTERS) for name in models[: _NAMES + 1] if name != model]
    if model and model in models and of_model:
        others = f"; it also lists {', '.join(map(repr, known[:_NAMES]))}" if known else ""
        return (
            f"The server lists {model_option} {model!r}, but refuses this request for it: see its message, and whether "
            f"the model is loaded there and takes such requests{others}."
        )
    if model and known and of_model:
        return f"Check {model_option} {model!r}: the server lists {', '.join(map(repr, known[:_NAMES]))}."
    given = f" and {model_option} ({_given_model(model, models, known)})" if failure.names_model else ""
    if failure.status in _NO_SUCH_ROUTE and failure.url and not of_model:
        options = failure.route_option or ("--host, --engine" if given else "--host and --engine")
        return f"The request was POST {failure.url}: check {options}{given}."
    options = "--host, --engine" if given else "--host and --engine"
    return f"Check {options}{given}, and the other options of the request."
