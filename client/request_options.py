"""The options of a run's requests: their definitions, and the frozen record they make."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from tokenswarm.client.abandon_options import add_abandon_options, check_abandonment, parse_abandonment
from tokenswarm.client.api_key import api_key, request_headers
from tokenswarm.client.cache_options import CacheOptions, add_cache_options, check_flush
from tokenswarm.client.connection_options import add_connection_options, proxy_of, tls_of
from tokenswarm.client.custom_headers import custom_headers, with_headers
from tokenswarm.client.length_options import LengthOptions, add_length_options, check_output_range
from tokenswarm.client.measurement_options import Stamps, TokenTimes, add_measurement_options
from tokenswarm.client.model_mix import ModelMix, add_model_options, parse_models
from tokenswarm.client.option_values import OptionError, choice_of, nonce_text, timespan_s, whole_number
from tokenswarm.client.request_control import Endpoint, MaxTokensField, RequestControl, add_request_control
from tokenswarm.client.server_metrics_options import add_metrics_options
from tokenswarm.client.session_options import SessionOptions, add_session_options
from tokenswarm.client.timeouts import Timeouts, add_timeouts
from tokenswarm.command_line import Collected, OptionAdder, PlainArguments, collect_errors, not_one_of
from tokenswarm.engines import (
    ENGINES,
    LLAMA_3,
    ChatTemplate,
    Counts,
    EngineError,
    EngineSpec,
    OpenAICompatible,
    TemplatedEngine,
    compile_template,
    completions_of,
    load_engines_of_packages,
    responses_of,
)
from tokenswarm.metrics.abandonment import Abandonment
from tokenswarm.metrics.trace_replay import TraceReplay
from tokenswarm.prompts import PromptReuse, parse_token_range
from tokenswarm.prompts.synthetic.length_notation import INPUT_OPTION
from tokenswarm.prompts.synthetic.shared_prefixes import PREFIX_OPTION
from tokenswarm.prompts.traces.replay_notation import replay_of
from tokenswarm.prompts.traces.trace_records import TRACE
from tokenswarm.sanitize import UnusableFile, read_text
from tokenswarm.wire import Origin, Proxy, TlsSettings

#: Not an option of the command line: set where a web page may choose the server, and sent to workers with the options.
KEY_SERVERS = "api_key_servers"
#: How many users each worker is to have at most, in the same way.
USERS_OF_WORKER = "users_of_worker"
#: How many processes of the master's machine send the load; not set where that is not known.
LOAD_PROCESSES = "load_processes"
_MOST_TEMPLATE_BYTES = 2**20
#: The --engine that is detected.
AUTO = "auto"


class Switch(StrEnum):
    """Whether something is done."""

    ON = "on"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """How a run's requests are made. chat_template, prompts_column, system_prompt_file and tokenizer are None where
    none was given; model "" and engine "auto" are detected from the server. prompt_nonce "" is drawn when the run
    begins. ready_timeout_s: how long the server may take to be ready. models: of --models, None without;
    `model` is then its first."""

    engine: str
    model: str
    chat_template: str | None
    prompts: str
    prompts_column: str | None
    prompt_tokens: tuple[int, int]
    prompt_reuse: PromptReuse
    prompt_nonce: str
    tokenizer: str | None
    system_prompt_file: str | None
    max_tokens: int
    ignore_eos: bool
    token_times: TokenTimes
    stamps: Stamps
    traceparent: bool
    seed: int
    self_check: bool
    preflight: bool
    timeouts: Timeouts
    ready_timeout_s: float
    tls: TlsSettings
    proxy: Proxy | None = None
    control: RequestControl = field(default_factory=RequestControl)
    #: Servers (scheme://host:port) that the API key may be sent to; None: whichever --host is.
    key_servers: tuple[str, ...] | None = None
    lengths: LengthOptions = field(default_factory=LengthOptions)
    models: ModelMix | None = None
    sessions: SessionOptions = field(default_factory=SessionOptions)
    cache: CacheOptions = field(default_factory=CacheOptions)
    #: Of --abandon; None where users wait for the end of each response.
    abandonment: Abandonment | None = None
    #: Of --trace, None without.
    trace: TraceReplay | None = None
    #: How many processes of one machine send the load, 0 where that is not known.
    load_processes: int = 0

    @property
    def makes_texts(self) -> bool:
        """Whether texts of stated lengths are made, so that these are calibrated before the run."""
        return self.length_option != ""

    @property
    def length_option(self) -> str:
        """The option that states lengths of texts, "" for none."""
        if self.trace is not None:
            return TRACE
        return INPUT_OPTION if self.lengths.plan.input is not None else PREFIX_OPTION if self.cache.prefix else ""

    @property
    def states_output(self) -> bool:
        """Whether output lengths are requested, of all requests or of those of a trace."""
        return self.lengths.plan.output is not None or self.trace is not None

    def may_have_key(self, server: Origin) -> bool:
        """Whether the command line names the server, so that the API key may be sent to it."""
        return self.key_servers is None or server.root in self.key_servers

    def key_for(self, server: Origin) -> str:
        """This process's API key, "" where there is none and where the server must not have it."""
        return api_key() if self.may_have_key(server) else ""

    def headers_for(self, server: Origin, engine: EngineSpec) -> dict[str, str]:
        """Headers of every request to the server: the API key's, and those of --header and --header-file, which are
        kept from the servers that may not have the key. Raises OptionError."""
        headers = request_headers(engine, self.key_for(server))
        if not self.may_have_key(server):
            return headers
        return with_headers(headers, custom_headers(self.control.headers, self.control.header_file))

    @classmethod
    def of(cls, options: Namespace) -> ChatOptions:
        """Check and convert. Raises OptionError (or PromptError for --prompt-tokens), OptionErrors for several."""
        with collect_errors() as errors:
            if options.engine not in (AUTO, *ENGINES):
                errors.add(OptionError(not_one_of("--engine", (AUTO, *ENGINES), options.engine)))
            checked = cls._of(options, errors)
            errors.of(custom_headers, checked.control.headers, checked.control.header_file)
            if checked.traceparent and any(_is_traceparent(header) for header in checked.control.headers):
                errors.add(OptionError("--traceparent and a --header of that name exclude each other; leave one out."))
            if checked.lengths and checked.max_tokens:
                errors.of(check_abandonment, checked.abandonment, checked.lengths, checked.max_tokens)
            if checked.engine in ENGINES:
                errors.of(check_engine, checked, ENGINES[checked.engine], None)
        return checked

    @classmethod
    def _of(cls, options: Namespace, errors: Collected) -> ChatOptions:
        of = errors.of
        models = of(parse_models, options.models)
        if models and options.model:
            errors.add(OptionError("--model and --models exclude each other: leave one of them out."))
        return cls(
            engine=options.engine,
            model=models.names[0] if models else options.model,
            chat_template=options.chat_template or None,
            prompts=options.prompts,
            prompts_column=options.prompts_column or None,
            prompt_tokens=of(parse_token_range, options.prompt_tokens),
            prompt_reuse=of(choice_of, PromptReuse, "--prompt-reuse", options.prompt_reuse),
            prompt_nonce=of(nonce_text, options.prompt_nonce),
            tokenizer=options.tokenizer or None,
            system_prompt_file=options.system_prompt_file or None,
            max_tokens=of(whole_number, "--max-tokens", options.max_tokens, least=1),
            ignore_eos=options.ignore_eos,
            token_times=of(choice_of, TokenTimes, "--token-times", options.token_times),
            stamps=of(choice_of, Stamps, "--stamps", options.stamps),
            traceparent=options.traceparent,
            seed=of(whole_number, "--seed", options.seed, least=0),
            self_check=options.self_check,
            preflight=of(choice_of, Switch, "--preflight", options.preflight) is Switch.ON,
            timeouts=Timeouts(
                connect_s=of(timespan_s, "--connect-timeout", options.connect_timeout),
                first_token_s=of(timespan_s, "--first-token-timeout", options.first_token_timeout),
                idle_s=of(timespan_s, "--idle-timeout", options.idle_timeout),
                total_s=of(timespan_s, "--request-timeout", options.request_timeout),
            ),
            ready_timeout_s=of(timespan_s, "--ready-timeout", options.ready_timeout),
            tls=of(tls_of, options),
            proxy=of(proxy_of, options.proxy),
            control=RequestControl.of(options, errors),
            key_servers=_key_servers(options),
            lengths=of(LengthOptions.of, options),
            models=models,
            sessions=SessionOptions.of(options, errors),
            cache=of(CacheOptions.of, options),
            abandonment=of(parse_abandonment, options.abandon),
            trace=of(replay_of, options),
            load_processes=getattr(options, LOAD_PROCESSES, 0),
        )


def check_engine(options: ChatOptions, engine: EngineSpec, max_tokens_range: tuple[int, int] | None) -> None:
    """Whether the engine can do what the options require; max_tokens_range: of the server, where it is known. Raises
    OptionError."""
    engine = _at_endpoint(options, engine)
    if options.ignore_eos and not engine.honours_ignore_eos:
        raise OptionError(
            f"--ignore-eos: {engine.name} has no way to request exactly --max-tokens tokens; {engine.no_exact_length}."
        )
    check_flush(options.cache, engine)
    if options.models and not engine.requests_name_model:
        raise OptionError(f"--models: requests to {engine.name} name no model; leave it out.")
    if options.chat_template and not _takes_template(options, engine):
        able = ", ".join(name for name, each in ENGINES.items() if isinstance(each, TemplatedEngine))
        raise OptionError(
            f"--chat-template is for endpoints that apply none ({able}, and --endpoint completions); {engine.name} has "
            "its own."
        )
    if engine.counts is Counts.NOBODY and options.tokenizer is None:
        raise OptionError(
            f"{engine.name} streams bare text without any count of tokens; give --tokenizer (the model's "
            "tokenizer.json, or its name on the Hugging Face hub) to have them counted."
        )
    if max_tokens_range and options.lengths.plan.output is not None:
        check_output_range(options.lengths.plan, max_tokens_range)
    elif max_tokens_range and not (options.trace or max_tokens_range[0] <= options.max_tokens <= max_tokens_range[1]):
        shortest, longest = max_tokens_range
        raise OptionError(
            f"--max-tokens: this service takes {shortest} to {longest}, got {options.max_tokens}; it would refuse "
            "every request."
        )
    if options.ignore_eos and options.control.sampling.stop:
        raise OptionError(
            "--stop ends answers early, and --ignore-eos shall have none end early; leave one of them out."
        )
    body_changes(options, engine)


def _takes_template(options: ChatOptions, engine: EngineSpec) -> bool:
    return isinstance(engine, TemplatedEngine) or options.control.endpoint is Endpoint.COMPLETIONS


def body_changes(options: ChatOptions, engine: EngineSpec) -> tuple[Mapping[str, Any], ...]:
    """What the options merge into the body of each request, in order. Raises OptionError."""
    try:
        sampling = engine.sampling_fields(options.control.sampling)
    except EngineError as error:
        raise OptionError(str(error)) from None
    return tuple(filter(None, (options.control.template, sampling)))


def engine_of(options: ChatOptions) -> EngineSpec:
    """The engine as the options want it. Raises OptionError, EngineError."""
    engine = _at_endpoint(options, ENGINES[options.engine])
    if isinstance(engine, TemplatedEngine) and options.chat_template:
        engine = replace(engine, template=_template(options.chat_template))
    path = options.control.request_path
    return replace(engine, path=path) if path else engine


def model_for(options: ChatOptions, row_model: str) -> str:
    """The model that a request names whose prompt's row names row_model ("" for none): that one, unless --model or
    --models was given."""
    return row_model if row_model and options.control.row_models else options.model


def as_detected(options: ChatOptions, engine: str, model: str) -> ChatOptions:
    """The options with the server's engine and the run's model; rows' models are not requested where requests name
    none. Raises OptionError, EngineError."""
    found = replace(options, engine=engine, model=model)
    if engine_of(found).requests_name_model:
        return found
    return replace(found, control=replace(found.control, row_models=False))


def at_endpoint(options: ChatOptions, endpoint: str) -> ChatOptions:
    """The options for requests to another endpoint (one of Endpoint), whose path is then the engine's own; "" is the
    options' endpoint."""
    control = options.control
    if endpoint in ("", control.endpoint):
        return options
    adaptations = replace(control.adaptations, path="")
    return replace(options, control=replace(control, endpoint=Endpoint(endpoint), path="", adaptations=adaptations))


def _at_endpoint(options: ChatOptions, engine: EngineSpec) -> EngineSpec:
    """Raises OptionError, EngineError."""
    control = options.control
    if not isinstance(engine, OpenAICompatible):
        for option, is_default in (
            (f"--endpoint {control.endpoint}", control.endpoint is Endpoint.CHAT),
            (f"--max-tokens-field {control.max_tokens_field}", control.max_tokens_field is MaxTokensField.AUTO),
        ):
            if not is_default:
                raise OptionError(
                    f"{option} is for OpenAI-compatible engines; {engine.name} has a protocol of its own."
                )
        return engine
    if control.endpoint is Endpoint.RESPONSES:
        if control.max_tokens_field is not MaxTokensField.AUTO:
            raise OptionError("--max-tokens-field has no effect beside --endpoint responses: leave one of them out.")
        return responses_of(engine)
    cap = control.adaptations.max_tokens_field or control.max_tokens_field
    if cap != MaxTokensField.AUTO:
        engine = replace(engine, max_tokens_field=str(cap))
    if control.adaptations.no_usage_option:
        engine = replace(engine, requests_usage=False)
    if control.endpoint is Endpoint.COMPLETIONS:
        return completions_of(engine, _template(options.chat_template) if options.chat_template else None)
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


def add_options(parser: ArgumentParser | PlainArguments) -> None:
    """Give Locust's parser (and so its web form) these options. Every default has the type the form returns."""
    for add in (
        *(_add_server_options, _add_prompt_options, _add_response_options, add_measurement_options),
        *(
            _add_trace_options,
            _add_start_options,
            add_timeouts,
            add_connection_options,
            add_metrics_options,
            add_request_control,
        ),
    ):
        add(OptionAdder(parser))


def _add_server_options(option: OptionAdder) -> None:
    load_engines_of_packages()
    option(
        "--engine",
        "the server's engine, and so its dialect (docs/engines.md); auto: detected from the server's responses",
        default=AUTO,
        choices=[AUTO, *ENGINES],
    )
    add_model_options(option)
    option(
        "--chat-template",
        "chat template for endpoints that take plain text (triton, triton-bls, tgi-generate, and --endpoint "
        "completions): llama-3, or the path of a Jinja file; empty: llama-3, but none with --endpoint completions",
    )


def _add_prompt_options(option: OptionAdder) -> None:
    option(
        "--prompts",
        "sample: some 300 prompts that come with Tokenswarm; dolly: databricks-dolly-15k; hf:OWNER/NAME:CONFIG@SPLIT: "
        "any data set of the Hugging Face hub; or the path of a JSONL, JSON, CSV, Parquet or Arrow file, or of a "
        "folder of JSONL files (formats: docs/prompts.md)",
        default="sample",
    )
    option(
        "--prompts-column",
        "column of --prompts that holds the text or the messages; empty: the first known one (docs/prompts.md#text)",
    )
    option(
        "--prompt-tokens",
        "lengths of prompts to use, in tokens; other rows are left out, and the log says how many",
        metavar="MIN:MAX",
        default="30:150",
    )
    option.choice(
        "--prompt-reuse",
        PromptReuse,
        PromptReuse.NEVER,
        "which prompts may repeat, so that the server's prefix cache can reuse them: never: each prompt begins with "
        "characters that no other has; run: a prompt may repeat within a run, and begins differently in the next run; "
        "always: prompts are sent unchanged (docs/metrics.md#repeated-prompts-and-prefix-caches)",
    )
    option(
        "--prompt-nonce",
        "text from which --prompt-reuse derives those first characters: the same text gives the same ones again, for a "
        "run that is to be repeated exactly; empty: random for each run, and recorded in run.json",
    )
    add_cache_options(option)
    option(
        "--tokenizer",
        "tokenizer.json, its folder, or a hub name; counts prompts, and output where the server does not; empty: "
        "prompt lengths are estimated",
    )
    option("--system-prompt-file", "text file with the system prompt; empty: the one that comes with Tokenswarm")
    option("--seed", "seed of the order of prompts, and of generated ones", default=1, type=int)


def _add_response_options(option: OptionAdder) -> None:
    option("--max-tokens", "longest response, in tokens", default=512, type=int)
    option.switch(
        "--ignore-eos",
        "every response has exactly --max-tokens or --output-tokens tokens, where the engine supports it",
    )
    add_length_options(option)
    add_session_options(option)
    add_abandon_options(option)


def _add_trace_options(option: OptionAdder) -> None:
    option.switch(
        "--traceparent",
        "send a traceparent header (W3C Trace Context) with an id of its own in each request; requests.csv has it as "
        "trace_id, and docs/how-to/export.md says how the server's spans join the client's",
    )


def _add_start_options(option: OptionAdder) -> None:
    option.time(
        "--ready-timeout",
        "how long to wait, before the run, for a server that responds but is not ready",
        default="10m",
    )
    option.switch(
        "--self-check",
        "calibrate the client before the run: each worker streams for some seconds from a local server of known speed, "
        "which logs its own sends, with as many users as it will have at most, and reports its own timing error; one "
        "that affects the results marks the run suspect; needs Linux",
    )
    option.choice(
        "--preflight",
        Switch,
        Switch.ON,
        "before the run, send one small request of each kind (with and without system prompt), which is not "
        "included in the results; if one fails, the run is not started and the exit code is 2 "
        "(docs/requests.md#what-the-preflight-does)",
    )


def _key_servers(options: Namespace) -> tuple[str, ...] | None:
    named = getattr(options, KEY_SERVERS, None)
    return None if named is None else tuple(named)


def _is_traceparent(header: str) -> bool:
    return header.partition(":")[0].strip().lower() == "traceparent"
