"""The options of what is asked, of whom and for how long: how they are given, and the frozen record they make."""

from __future__ import annotations

import os
import re
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from engines import (
    ENGINES,
    LLAMA_3,
    ChatTemplate,
    Counts,
    Engine,
    TemplatedEngine,
    compile_template,
)
from options import Collected, collect_errors
from prompts import PromptReuse, parse_token_range
from sanitize import API_KEY_VARIABLE, UnusableFile, read_text, shown
from wire import Origin, TlsSettings, UnusableUrl

#: Not an option of the command line: set where a web page may choose the server, and sent to workers with the options.
KEY_SERVERS = "api_key_servers"
#: How many users each worker is to have at most, in the same way.
USERS_OF_WORKER = "users_of_worker"
_MOST_TEMPLATE_BYTES = 2**20
#: The --engine that is found out.
AUTO = "auto"
_NUMBER = r"\d+(?:\.\d+)?"
_TIMESPAN = re.compile(rf"({_NUMBER})|(?:({_NUMBER})h)?(?:({_NUMBER})m)?(?:({_NUMBER})s)?(?:({_NUMBER})ms)?", re.ASCII)
_MOST_NONCE_CHARACTERS = 200
_SECONDS = (1.0, 3600.0, 60.0, 1.0, 0.001)


Choice = TypeVar("Choice", bound=StrEnum)


class OptionError(ValueError):
    """An option holds what it cannot; the text says what was expected and what came."""


class TokenTimes(StrEnum):
    """Whose gaps are measured: every stream's, every tenth stream's, nobody's."""

    ALL = "all"
    SAMPLED = "sampled"
    ENDS = "ends"


class Stamps(StrEnum):
    """Whose receive times arrivals have: the kernel's where it gives any, or those of the reads."""

    KERNEL = "kernel"
    USER = "user"


class Switch(StrEnum):
    """Whether something is done."""

    ON = "on"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each part of a request may take, in seconds. idle_s: between two outputs; pings do not reset it."""

    connect_s: float
    first_token_s: float
    idle_s: float
    total_s: float


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """What a run asks. chat_template, system_prompt_file and tokenizer are None where none was given; model "" and
    engine "auto" are found out from the server. prompt_nonce "" is drawn when the run begins. ready_timeout_s: how long
    it may take to be ready."""

    engine: str
    model: str
    chat_template: str | None
    prompts: str
    prompt_tokens: tuple[int, int]
    prompt_reuse: PromptReuse
    prompt_nonce: str
    tokenizer: str | None
    system_prompt_file: str | None
    max_tokens: int
    ignore_eos: bool
    token_times: TokenTimes
    stamps: Stamps
    seed: int
    self_check: bool
    preflight: bool
    timeouts: Timeouts
    ready_timeout_s: float
    tls: TlsSettings
    #: Servers (scheme://host:port) that the API key may be sent to; None: whichever --host is.
    key_servers: tuple[str, ...] | None = None

    def may_have_key(self, server: Origin) -> bool:
        """Whether the command line names the server, so that the API key may be sent to it."""
        return self.key_servers is None or server.root in self.key_servers

    def key_for(self, server: Origin) -> str:
        """This process's API key, "" where there is none and where the server must not have it."""
        return api_key() if self.may_have_key(server) else ""

    @classmethod
    def of(cls, options: Namespace) -> ChatOptions:
        """Check and convert. Raises OptionError (or PromptError for --prompt-tokens), OptionErrors for several."""
        with collect_errors() as errors:
            if options.engine not in (AUTO, *ENGINES):
                errors.add(OptionError(f"--engine takes one of {', '.join((AUTO, *ENGINES))}, got {options.engine!r}."))
            checked = cls._of(options, errors)
            if checked.engine in ENGINES:
                errors.of(check_engine, checked, ENGINES[checked.engine], None)
        return checked

    @classmethod
    def _of(cls, options: Namespace, errors: Collected) -> ChatOptions:
        of = errors.of
        return cls(
            engine=options.engine,
            model=options.model,
            chat_template=options.chat_template or None,
            prompts=options.prompts,
            prompt_tokens=of(parse_token_range, options.prompt_tokens),
            prompt_reuse=of(_one_of, PromptReuse, "--prompt-reuse", options.prompt_reuse),
            prompt_nonce=of(_nonce, options.prompt_nonce),
            tokenizer=options.tokenizer or None,
            system_prompt_file=options.system_prompt_file or None,
            max_tokens=of(_whole, "--max-tokens", options.max_tokens, least=1),
            ignore_eos=options.ignore_eos,
            token_times=of(_one_of, TokenTimes, "--token-times", options.token_times),
            stamps=of(_one_of, Stamps, "--stamps", options.stamps),
            seed=of(_whole, "--seed", options.seed, least=0),
            self_check=options.self_check,
            preflight=of(_one_of, Switch, "--preflight", options.preflight) is Switch.ON,
            timeouts=Timeouts(
                connect_s=of(_timespan, "--connect-timeout", options.connect_timeout),
                first_token_s=of(_timespan, "--first-token-timeout", options.first_token_timeout),
                idle_s=of(_timespan, "--idle-timeout", options.idle_timeout),
                total_s=of(_timespan, "--request-timeout", options.request_timeout),
            ),
            ready_timeout_s=of(_timespan, "--ready-timeout", options.ready_timeout),
            tls=TlsSettings(options.tls_ca or None, options.tls_insecure),
            key_servers=_key_servers(options),
        )


def check_engine(options: ChatOptions, engine: Engine, max_tokens_range: tuple[int, int] | None) -> None:
    """Whether the engine can do what the options ask, max_tokens within its own range where it has told one. Raises
    OptionError."""
    if options.ignore_eos and not engine.honours_ignore_eos:
        raise OptionError(
            f"--ignore-eos: {engine.name} cannot be told to go on to exactly --max-tokens tokens; "
            f"{engine.no_exact_length}."
        )
    if options.chat_template and not isinstance(engine, TemplatedEngine):
        able = ", ".join(name for name, each in ENGINES.items() if isinstance(each, TemplatedEngine))
        raise OptionError(f"--chat-template is for endpoints that apply none ({able}); {engine.name} has its own.")
    if engine.counts is Counts.NOBODY and options.tokenizer is None:
        raise OptionError(
            f"{engine.name} streams bare text without any count of tokens; give --tokenizer (the model's "
            "tokenizer.json, or its name on the Hugging Face hub) to have them counted."
        )
    if max_tokens_range and not max_tokens_range[0] <= options.max_tokens <= max_tokens_range[1]:
        shortest, longest = max_tokens_range
        raise OptionError(
            f"--max-tokens: this service takes {shortest} to {longest}, got {options.max_tokens}; it would refuse "
            "every request."
        )


def engine_of(options: ChatOptions) -> Engine:
    """The engine as the options want it. Raises OptionError, EngineError."""
    engine = ENGINES[options.engine]
    if isinstance(engine, TemplatedEngine) and options.chat_template:
        return replace(engine, template=_template(options.chat_template))
    return engine


def _template(name: str) -> ChatTemplate:
    if name == LLAMA_3.name:
        return LLAMA_3
    try:
        return compile_template(name, read_text(Path(name).expanduser(), _MOST_TEMPLATE_BYTES))
    except UnusableFile as error:
        raise OptionError(
            f"--chat-template takes {LLAMA_3.name} or the path of a Jinja file; the file {name!r} {error}."
        ) from None


@dataclass(frozen=True, slots=True)
class ServerMetricsOptions:
    """Where to read what the server tells of itself: `page`, or with `auto` wherever its engine shows it. `gpu_page` is
    that of a DCGM exporter."""

    auto: bool
    page: Origin | None
    gpu_page: Origin | None

    @classmethod
    def of(cls, options: Namespace) -> ServerMetricsOptions:
        """Check and convert. Raises OptionError."""
        with collect_errors() as errors:
            return cls(
                auto=options.server_metrics == "auto",
                page=errors.of(_page, "--server-metrics", options.server_metrics, "auto", "off"),
                gpu_page=errors.of(_page, "--gpu-metrics-url", options.gpu_metrics_url, ""),
            )


def add_options(parser: ArgumentParser) -> None:
    """Give Locust's parser (and so its web form) these options. Every default has the type the form returns.

    The API key is no option: Locust would show it in its page and send it to workers in clear. Each node reads it
    from the environment.
    """
    option: Any = parser.add_argument  # Locust's own, which knows env_var and include_in_web_ui
    option(
        "--engine",
        choices=[AUTO, *ENGINES],
        default=AUTO,
        env_var="TOKENSWARM_ENGINE",
        help="the server's engine, and so its dialect (docs/engines.md); auto: found out by asking the server",
    )
    option("--model", default="", env_var="TOKENSWARM_MODEL", help="model to ask for; empty: the server's only one")
    option(
        "--chat-template",
        default="",
        env_var="TOKENSWARM_CHAT_TEMPLATE",
        help="for endpoints that apply none (triton, triton-bls, tgi-generate): llama-3, or the path of a Jinja file; "
        "empty: llama-3",
    )
    option(
        "--prompts",
        default="sample",
        env_var="TOKENSWARM_PROMPTS",
        help="sample: some 300 prompts that come with Tokenswarm; dolly: databricks-dolly-15k; hf:NAME: any data set "
        "of the Hugging Face hub; or the path of a JSONL, CSV or Parquet file (its columns: docs/options.md)",
    )
    option(
        "--prompt-tokens",
        default="30:150",
        env_var="TOKENSWARM_PROMPT_TOKENS",
        help="lengths of prompts to take, in tokens, MIN:MAX; other rows are left out, and the log says how many",
    )
    option(
        "--prompt-reuse",
        choices=[reuse.value for reuse in PromptReuse],
        default=PromptReuse.NEVER.value,
        env_var="TOKENSWARM_PROMPT_REUSE",
        help="which prompts may repeat, and so be found in the server's prefix cache: never: each request has a mark "
        "of its own as its first characters; run: each prompt has one that differs from run to run, and repeats with "
        "it; always: prompts are sent as they are, as in the article",
    )
    option(
        "--prompt-nonce",
        default="",
        env_var="TOKENSWARM_PROMPT_NONCE",
        help="text that the marks of --prompt-reuse are derived from: the same text gives the same marks again; empty: "
        "drawn for each run, and recorded in run.json",
    )
    option(
        "--tokenizer",
        default="",
        env_var="TOKENSWARM_TOKENIZER",
        help="tokenizer.json, its folder, or a hub name; counts prompts, and output where the server does not; "
        "empty: prompt lengths are estimated",
    )
    option(
        "--system-prompt-file",
        default="",
        env_var="TOKENSWARM_SYSTEM_PROMPT_FILE",
        help="text file with the system prompt; empty: one that comes with Tokenswarm",
    )
    option("--max-tokens", type=int, default=512, env_var="TOKENSWARM_MAX_TOKENS", help="longest answer, in tokens")
    option(
        "--ignore-eos",
        action="store_true",
        default=False,
        env_var="TOKENSWARM_IGNORE_EOS",
        help="have every answer go on to exactly --max-tokens tokens",
    )
    option(
        "--token-times",
        choices=[times.value for times in TokenTimes],
        default=TokenTimes.ALL.value,
        env_var="TOKENSWARM_TOKEN_TIMES",
        help="whose gaps between tokens are measured: all streams, one in ten (sampled), or none (ends); the others "
        "cost a fraction, and their first and last tokens are timed all the same",
    )
    option(
        "--stamps",
        choices=[stamps.value for stamps in Stamps],
        default=Stamps.KERNEL.value,
        env_var="TOKENSWARM_STAMPS",
        help="whose receive times count: the kernel's, where the system gives any, or (user) those at which this "
        "program reads, as other clients do",
    )
    option("--seed", type=int, default=1, env_var="TOKENSWARM_SEED", help="seed of the order of prompts")
    option(
        "--ready-timeout",
        default="10m",
        env_var="TOKENSWARM_READY_TIMEOUT",
        help="how long a server that answers may take, before the run, to say that it is ready",
    )
    option(
        "--self-check",
        action="store_true",
        default=False,
        env_var="TOKENSWARM_SELF_CHECK",
        help="before the load, have each worker stream from a server of known speed, as many users as it will have at "
        "most, and tell its own error",
    )
    option(
        "--preflight",
        choices=[switch.value for switch in Switch],
        default=Switch.ON.value,
        env_var="TOKENSWARM_PREFLIGHT",
        help="before the load, send one small request of each kind (with, without system prompt), which is counted "
        "nowhere; if it fails, the run is not started",
    )
    option("--connect-timeout", default="10s", env_var="TOKENSWARM_CONNECT_TIMEOUT", help="for a connection")
    option("--first-token-timeout", default="120s", env_var="TOKENSWARM_FIRST_TOKEN_TIMEOUT", help="for a first token")
    option("--idle-timeout", default="60s", env_var="TOKENSWARM_IDLE_TIMEOUT", help="between two outputs of a stream")
    option(
        "--tls-ca",
        default="",
        env_var="TOKENSWARM_TLS_CA",
        help="PEM file of the authorities to trust with an https host; empty: the system's",
    )
    option(
        "--tls-insecure",
        action="store_true",
        default=False,
        env_var="TOKENSWARM_TLS_INSECURE",
        include_in_web_ui=False,
        help="trust whatever certificate an https host shows; anybody could be that host",
    )
    option(
        "--server-metrics",
        default="auto",
        env_var="TOKENSWARM_SERVER_METRICS",
        help="where the server tells of itself (queue, cache, its own TTFT), read every 5 s: auto: the engine's own "
        "page on --host; off; or the address of another page",
    )
    option(
        "--gpu-metrics-url",
        default="",
        env_var="TOKENSWARM_GPU_METRICS_URL",
        help="page of a DCGM exporter on the server's machine, for GPU utilization; empty: none",
    )
    option("--request-timeout", default="10m", env_var="TOKENSWARM_REQUEST_TIMEOUT", help="for a whole request")


def api_key() -> str:
    """This process's key, "" where it has none. To be sent to the server, and nowhere else."""
    return os.environ.get(API_KEY_VARIABLE, "")


def key_advice(may_have_key: bool = True) -> str:
    """What to do about a server that refuses this process's key, or its lack of one. may_have_key: whether the key was
    sent to it, if there is one."""
    if api_key() and not may_have_key:
        return (
            f"{API_KEY_VARIABLE} is not sent to this server, as the command line does not name it: start Tokenswarm "
            "with --web-allow-target and this address"
        )
    if api_key():
        return f"The server does not accept the key in {API_KEY_VARIABLE}: set that variable to a valid one"
    return f"The server requires an API key: set the variable {API_KEY_VARIABLE}"


def _key_servers(options: Namespace) -> tuple[str, ...] | None:
    named = getattr(options, KEY_SERVERS, None)
    return None if named is None else tuple(named)


def request_headers(engine: Engine, key: str | None = None) -> dict[str, str]:
    """Headers of every request: the API key as the engine wants it, by default the one of this process's environment,
    if it has one. Raises OptionError."""
    key = api_key() if key is None else key
    if not (key.isascii() and key.isprintable()):
        raise OptionError(f"{API_KEY_VARIABLE} holds a character that no HTTP header may hold; set it again.")
    return engine.headers(key)


def _whole(option: str, value: Any, least: int) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = least - 1
    if number < least:
        raise OptionError(f"{option} takes a whole number of at least {least}, got {value!r}.")
    return number


def _page(option: str, text: str, *words: str) -> Origin | None:
    """The page at an address, /metrics where it names none; None for one of the words."""
    if text in words:
        return None
    try:
        page = Origin.parse(text)
    except UnusableUrl:
        known = "".join(f"{word}, " for word in words if word)
        raise OptionError(
            f"{option} takes {known}or an address like http://HOST:PORT/metrics, got {shown(text)!r}."
        ) from None
    return page if page.prefix else replace(page, prefix="/metrics")


def _nonce(text: Any) -> str:
    nonce = str(text).strip()
    if len(nonce) > _MOST_NONCE_CHARACTERS or not nonce.isprintable():
        raise OptionError(
            f"--prompt-nonce takes up to {_MOST_NONCE_CHARACTERS} printable characters, got {nonce[:40]!r}."
        )
    return nonce


def _one_of(kind: type[Choice], option: str, text: str) -> Choice:
    try:
        return kind(text)
    except ValueError:
        raise OptionError(f"{option} takes one of {', '.join(kind)}, got {text!r}.") from None


def _timespan(option: str, text: Any) -> float:
    match = _TIMESPAN.fullmatch(str(text).strip())
    seconds = sum(float(part or 0) * unit for part, unit in zip(match.groups(), _SECONDS)) if match else 0.0
    if seconds <= 0:
        raise OptionError(f"{option} takes a time above 0 like 500ms, 20s or 1h30m, got {text!r}.")
    return seconds
