"""What happens at the start and the end of a run around its users, inside Locust."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from math import ceil
from typing import Any

import gevent
import msgspec
from locust.env import Environment
from locust.event import Events
from locust.runners import MasterRunner, WorkerRunner

from tokenswarm.client.connection_options import check_https, tls_of
from tokenswarm.client.measurement_options import STAMP_SOURCES, Stamps, TokenTimes, check_stamps, stamps_in_use
from tokenswarm.client.option_values import OptionError
from tokenswarm.client.request_control import RUN_REQUESTS
from tokenswarm.client.request_options import (
    AUTO,
    KEY_SERVERS,
    LOAD_PROCESSES,
    USERS_OF_WORKER,
    ChatOptions,
    as_detected,
    body_changes,
    engine_of,
)
from tokenswarm.client.run_context import RunContext
from tokenswarm.client.run_models import label_of, log_models, models_of_run, warn_of_unlisted, with_default_model
from tokenswarm.client.sent_key import sent_facts, sent_key
from tokenswarm.client.server_address import base_url, hosts_of, origin_of, origins_of, take_route
from tokenswarm.client.server_metrics_options import ServerMetricsOptions
from tokenswarm.client.workload import (
    Workload,
    check_images,
    check_turns,
    has_turns,
    load_given_workload,
    load_workload,
)
from tokenswarm.cluster.worker_calls import WorkerCall
from tokenswarm.command_line import collect_errors
from tokenswarm.engines import TemplatedEngine
from tokenswarm.metrics.client_health import SelfCheck
from tokenswarm.metrics.level import Level, SystemPrompt
from tokenswarm.metrics.mix import MixMember, RunMix
from tokenswarm.prompts import PromptReuse, new_run_nonce
from tokenswarm.prompts.images import image_facts
from tokenswarm.recording.mix_stats import DEFAULT_NAME
from tokenswarm.recording.recorder import Recorder
from tokenswarm.shapes.plan import OWN_USERS
from tokenswarm.shapes.rate_options import is_open
from tokenswarm.shapes.run_shape import RunShape
from tokenswarm.target.adaptation import meanings
from tokenswarm.target.advice import engine_advice
from tokenswarm.target.embedded_servers import EmbeddedSimulator
from tokenswarm.target.metrics_scraper import MetricsLog, MetricsScraper
from tokenswarm.target.preflight import PreflightFailed, PreflightResult
from tokenswarm.target.server_detection import ReadyServer, find_server, server_from_options
from tokenswarm.target.several_hosts import in_common, preflight_hosts
from tokenswarm.users.cache_flushes import CacheFlushes, find_cache_block
from tokenswarm.users.current_run import CURRENT_RUN, Share
from tokenswarm.users.garbage_collection import GARBAGE_COLLECTION
from tokenswarm.users.length_calibrations import LengthCalibrations
from tokenswarm.users.load_senders import processes_of, sends_from_here
from tokenswarm.users.own_prompts import OWN_PROMPTS, check_own_prompts, own_fingerprint
from tokenswarm.users.preflights import Preflights, least_tokens_of
from tokenswarm.users.prompt_warnings import log_prompts
from tokenswarm.users.self_check import SelfCheckFailed, self_check
from tokenswarm.wire import UnusableUrl, process_limits, shortage

#: A self-check takes some seconds, and more on a machine that has other things to do.
_WORKERS_PATIENCE_S = 60.0

#: Options that a run's start changes for all of its processes.
_CHOSEN = ("engine", "model", "prompt_nonce", "path", "endpoint")

logger = logging.getLogger(__name__)


class SelfChecks:
    """Calibrates the client of each process that is to send load."""

    def __init__(self) -> None:
        self._call = WorkerCall("tokenswarm_self_check", self._on_worker)

    def attach(self, environment: Environment) -> None:
        """At Locust's init."""
        self._call.attach(environment)

    def make(self, environment: Environment, users: int) -> dict[int, SelfCheck]:
        """On the master, or the only process, before the run begins. users: the largest number of them on all processes
        together. Raises SelfCheckFailed, OptionError, WorkerCallFailed."""
        options = _options(environment)
        logger.info("Self-check: each worker measures its own client, for some seconds")
        if not isinstance(runner := environment.runner, MasterRunner):
            return {0: self_check(users, options.token_times, options.stamps, options.load_processes)}
        workers = [client.id for client in runner.clients.ready]
        share = ceil(users / max(1, len(workers)))
        question = {"users": share, "token_times": options.token_times.value, "stamps": options.stamps.value}
        question["processes"] = options.load_processes
        found = self._call.call(runner, workers, question, share / 100 + _WORKERS_PATIENCE_S)
        checks = {runner.get_worker_index(name): _check_of(name, result) for name, result in found.items()}
        return dict(sorted(checks.items()))

    @staticmethod
    def _on_worker(_: Environment, question: Mapping[str, Any]) -> Any:
        token_times, stamps = TokenTimes(question["token_times"]), Stamps(question["stamps"])
        return msgspec.to_builtins(self_check(question["users"], token_times, stamps, question["processes"]))


def _check_of(name: str, result: Any) -> SelfCheck:
    try:
        return msgspec.convert(result, SelfCheck)
    except msgspec.ValidationError as error:
        raise SelfCheckFailed(f"worker {name} sent no self-check ({error})") from None


class RunLifecycle:
    """Prepares on each process what the users of a run share: server, workload, metrics, calibration."""

    def __init__(self, events: Events) -> None:
        self._simulator: EmbeddedSimulator | None = None
        self._chosen: dict[str, Any] | None = None
        self._watch: MetricsScraper | None = None
        self._self_checks = SelfChecks()
        self._preflights = Preflights()
        self._length_calibrations = LengthCalibrations()
        self._cache_flushes = CacheFlushes()
        CURRENT_RUN.is_prepared = True
        events.test_stopping.add_listener(self._on_test_stopping)
        events.test_stop.add_listener(self._on_test_stop)
        events.quit.add_listener(self._on_quit)

    def attach(self, environment: Environment) -> None:
        """At Locust's init: check the options, load the prompts, and start the simulator where no host is given.
        Raises OptionError, PromptError, UnusableUrl."""
        self._self_checks.attach(environment)
        self._preflights.attach(environment)
        self._length_calibrations.attach(environment)
        self._cache_flushes.attach(environment)
        assert environment.parsed_options is not None
        options = self.load(environment.parsed_options)
        ServerMetricsOptions.of(environment.parsed_options)
        if not isinstance(environment.runner, MasterRunner):
            check_stamps(options.stamps)
        if options.tls.insecure:
            logger.warning("--tls-insecure: TLS certificates are not verified")
        if not environment.host and not isinstance(environment.runner, WorkerRunner):
            self._simulator = EmbeddedSimulator()
            environment.host = self._simulator.host
            logger.info("No --host was given: the embedded simulator at %s is this run's server", environment.host)

    def send_key_only_to(self, addresses: Iterable[str], given: Namespace) -> None:
        """Where a web page may choose the server: the API key is sent to none but these. Workers get the list with the
        other options."""
        roots = []
        for address in (each for some in addresses for each in hosts_of(some)):
            with suppress(UnusableUrl):
                roots.append(origin_of(address).root)
        vars(given)[KEY_SERVERS] = roots

    def load(self, given: Namespace) -> ChatOptions:
        """Check the options and load the prompts. What a process loads before it forks workers, they all have: the time
        and the memory are spent once. Raises OptionError, PromptError."""
        options = ChatOptions.of(given)
        load_workload(options)
        return options

    def facts(
        self, environment: Environment, modes: Collection[SystemPrompt], server: ReadyServer | None = None
    ) -> dict[str, Any]:
        """On the master, or the only process: the run's configuration for run.json, once the server is detected and
        responds in the plan's system-prompt modes. server: where `find_server` has detected it just before. Raises
        OptionError, PromptError, UnusableUrl, PreflightFailed, WorkerCallFailed."""
        parsed = environment.parsed_options
        assert parsed is not None
        host = environment.host or ""
        self._chosen = {name: getattr(parsed, name) for name in _CHOSEN}
        take_route(parsed, host)
        options = ChatOptions.of(parsed)
        _warn_of_withheld_key(options, host)
        server = server or _server_of(options, host, environment, modes)
        # Workers get them with the other options, so that all nodes send to the same engine and model, and derive their
        # prompts' nonces from the same text.
        parsed.engine = server.found.engine
        if options.models is None:
            parsed.model = server.model
        parsed.prompt_nonce = run_nonce_of(options)
        vars(parsed)[LOAD_PROCESSES] = processes_of(environment)
        vars(parsed)[OWN_PROMPTS] = own_fingerprint(options)
        control = options.control
        row_models = as_detected(options, parsed.engine, server.model).control.row_models
        vars(parsed)[RUN_REQUESTS] = {"template": dict(control.template), "row_models": row_models}
        if not getattr(parsed, OWN_USERS, ()):  # whose code says what is sent
            log_prompts(load_workload(options).prompts, _options(environment))
        if options.preflight and not sends_from_here(environment):
            assert isinstance(environment.runner, MasterRunner)
            result = self._preflights.make_on_worker(environment.runner, options, hosts_of(host), modes, server.found)
            server = replace(server, preflight=result)
        warn_of_unlisted(_options(environment), server.found.models)
        vars(parsed)[RUN_REQUESTS]["adaptations"] = msgspec.to_builtins(server.preflight.adaptations)
        blocks = find_cache_block(environment)
        least_tokens, from_here = least_tokens_of(server.found), sends_from_here(environment)
        lengths = self._length_calibrations.make(environment, modes, least_tokens, from_here=from_here)
        return {
            "host": base_url(host),
            "requests": _request_facts(_options(environment), server.preflight) | sent_facts(options, host),
            "engine": server.found.engine,
            "model": label_of(_options(environment)),
            "abandonment": options.abandonment,
            "mix": RunMix(models_of_run(_options(environment)), _host_members(parsed, host)),
            "prompts": load_workload(options).facts() | lengths | reuse_facts(options, parsed.prompt_nonce) | blocks,
            "engine_version": server.found.version,
            "gateway": server.found.gateway,
            "engine_evidence": server.found.evidence,
            "chat_template": template_of(_options(environment)),
            "cold_start_s": server.waited_s,
            "embedded_simulator": self._simulator is not None,
        }

    def find_server(
        self, given: Namespace, host: str, environment: Environment, modes: Collection[SystemPrompt], wait: bool = True
    ) -> ReadyServer | None:
        """Check before a run in these system-prompt modes whether its server can be used. Returns the server for
        `facts`, None where it still loads. wait: until the server is ready; the run itself does so too. Raises
        OptionError, PromptError, UnusableUrl, PreflightFailed."""
        with suppress(_StillLoading):
            sleep = gevent.sleep if wait else _do_not_wait
            take_route(given, host)
            return _server_of(ChatOptions.of(given), host, environment, modes, sleep)
        return None

    def self_checks(self, environment: Environment, users: int) -> dict[int, SelfCheck]:
        """By worker, the timing error of its client with its share of so many users; nothing without --self-check.
        Raises SelfCheckFailed, OptionError."""
        return self._self_checks.make(environment, users) if _options(environment).self_check else {}

    def flushed(self, environment: Environment, level: Level) -> Level:
        """On the master, or the only process, before a level: flush the server's prefix cache, as --cache may require.
        Returns the level with what became of it."""
        return self._cache_flushes.before(level, from_here=sends_from_here(environment))

    def share_users(self, environment: Environment, users: int) -> None:
        """On the master, or the only process, before a run: check whether this machine can have so many users, and set
        each process's share in the options. Raises OptionError."""
        runner, parsed = environment.runner, environment.parsed_options
        assert parsed is not None
        workers = len(runner.clients.ready) if isinstance(runner, MasterRunner) else 1
        vars(parsed)[USERS_OF_WORKER] = share = ceil(users / max(1, workers))
        if parsed.processes or not isinstance(runner, MasterRunner):  # its users are all on this machine
            _check_limits(share, of_machine=users)

    def begin(self, environment: Environment, recorder: Recorder, arrivals: Share | None) -> None:
        """On each process that has users, before the first of them. arrivals: its share of an open-loop level's, None
        where this process sends all of them. Raises OptionError, PromptError, UnusableUrl."""
        share = getattr(environment.parsed_options, USERS_OF_WORKER, 0)
        _check_limits(share, of_machine=share)
        check_own_prompts(_options(environment), getattr(environment.parsed_options, OWN_PROMPTS, ""))
        CURRENT_RUN.share = arrivals
        CURRENT_RUN.run_context = RunContext(_options(environment), environment.host or "", recorder)
        shape = environment.shape_class
        has_own = isinstance(shape, RunShape) and bool(shape.own_classes)
        CURRENT_RUN.default_name = DEFAULT_NAME if has_own else ""
        logger.info("Timestamps of tokens: %s", STAMP_SOURCES[CURRENT_RUN.run_context.stamps])
        GARBAGE_COLLECTION.begin_run()

    def watch_server(self, environment: Environment, engine: str, log: MetricsLog) -> None:
        """On the master, or the only process: read server-side metrics from now to the run's end."""
        options = _options(environment)
        assert environment.parsed_options is not None
        where = ServerMetricsOptions.of(environment.parsed_options)
        spec, origins = engine_of(options), origins_of(environment.host or "")
        hosts = {origin: options.headers_for(origin, spec) for origin in origins}
        self._watch = MetricsScraper(where, engine, hosts, options.tls, log, options.proxy)
        self._watch.start()

    def allow_drain(self, environment: Environment, drain_s: float) -> None:
        """Where users are distributed from: give a user that is stopped so much time to end its stream."""
        environment.stop_timeout = drain_s

    def _on_test_stopping(self, environment: Environment, **_: Any) -> None:
        # Between levels, streams may end. A run that is stopped cuts its streams after --stop-timeout: by default, at
        # once.
        assert environment.parsed_options is not None
        environment.stop_timeout = environment.parsed_options.stop_timeout

    def _on_test_stop(self, environment: Environment, **_: Any) -> None:
        if CURRENT_RUN.run_context is not None:
            CURRENT_RUN.run_context.close()
        CURRENT_RUN.run_context = None
        GARBAGE_COLLECTION.end_run()
        if self._chosen is not None:
            # The next run of this process finds its own server, if that is what was chosen.
            given = vars(environment.parsed_options)
            given.update(self._chosen)
            given.pop(RUN_REQUESTS, None)
            given.pop(LOAD_PROCESSES, None)
            self._chosen = None
        if self._watch is not None:
            self._watch.stop()
            self._watch = None

    def _on_quit(self, **_: Any) -> None:
        # Locust's very last event: until then, streams may still run that would break with their server.
        if self._simulator is not None:
            self._simulator.stop()
            self._simulator = None


def check_options(given: Namespace, host: str) -> None:
    """Check all that can be wrong with the options themselves; "" is no host. Raises OptionError,
    PromptError, UnusableUrl, OptionErrors."""
    with collect_errors() as errors:
        errors.of(ChatOptions.of, given)
        errors.of(_check_certificates, given, host)
        own_users = getattr(given, OWN_USERS, ())  # on which --prompts has no effect
        if not own_users and (workload := errors.of(load_given_workload, given)):
            errors.of(_check_open_loop, given, workload)
        errors.of(ServerMetricsOptions.of, given)
        if host:
            errors.of(origins_of, host)


def _check_open_loop(given: Namespace, workload: Workload) -> None:
    """Raises OptionError where single requests are to arrive and there are sessions of several turns."""
    if is_open(given) and not given.session_rate and has_turns(workload.prompts):
        raise OptionError(
            "--rate, --rate-schedule and a file of --arrivals send single requests, and there are sessions of several "
            "turns: give --session-rate, or --turns last for one request of each conversation, or leave --turns out."
        )


def _check_certificates(given: Namespace, host: str) -> None:
    """Read the files that are named. Raises UnusableCertificates, OptionError, OptionErrors."""
    if host:
        check_https(given, host)
    if given.tls_ca or given.client_cert:
        tls_of(given).context()


def run_nonce_of(options: ChatOptions) -> str:
    """The text from which the run's nonces are derived: as given, or drawn now; "" where prompts get none."""
    if options.prompt_reuse is PromptReuse.ALWAYS:
        return ""
    return options.prompt_nonce or new_run_nonce()


def reuse_facts(options: ChatOptions, nonce: str) -> dict[str, str | int | float]:
    """How prompts repeat, for run.json. nonce: the text from which the run's nonces are derived."""
    facts = {"reuse": options.prompt_reuse.value, **options.cache.facts()}
    return facts | {"nonce": nonce, "nonce_source": "given" if options.prompt_nonce else "drawn"} if nonce else facts


def _request_facts(options: ChatOptions, preflighted: PreflightResult) -> dict[str, Any]:
    facts = options.control.facts(body_changes(options, engine_of(options)))
    facts["proxy"] = options.proxy.address if options.proxy else None
    facts["stamps"] = stamps_in_use(options.stamps, options.load_processes).value
    facts["images"] = image_facts(load_workload(options).images, options.prompt_reuse)
    return facts | {"adapted": meanings(preflighted.adaptations), "notices": list(preflighted.notices)}


def template_of(options: ChatOptions) -> str | None:
    """The chat template that requests are written with, None where the server applies its own."""
    engine = engine_of(options)
    if not isinstance(engine, TemplatedEngine):
        return options.chat_template
    if options.chat_template is None:
        logger.warning(
            "%s applies no chat template, and --chat-template is not given: prompts are written as %s has it",
            engine.name,
            engine.template.name,
        )
    return engine.template.name


def _options(environment: Environment) -> ChatOptions:
    assert environment.parsed_options is not None
    return ChatOptions.of(environment.parsed_options)


def _check_limits(users: int, of_machine: int) -> None:
    """Raises OptionError where this process, or this machine, cannot have so many connections."""
    if reason := shortage(process_limits(users), users, of_machine):
        raise OptionError(reason)


def _warn_of_withheld_key(options: ChatOptions, host: str) -> None:
    for origin in origins_of(host):
        sent = sent_key(options, origin)
        for source in sent.sources if sent.is_withheld else ():
            logger.warning(
                "%s is not sent to %s: it is sent only to servers that the command line names (--host or "
                "--web-allow-target)",
                source,
                origin.root,
            )


def _host_members(options: Namespace, host: str) -> tuple[MixMember, ...]:
    """The run's hosts. In an open loop each gets an equal share of the requests; in a closed loop it has an equal share
    of the users, and gets what it answers."""
    names = [base_url(each) for each in hosts_of(host)]
    return tuple(MixMember(name, 1 / len(names) if is_open(options) else None) for name in names)


class _StillLoading(Exception):
    """The server answers and is not ready."""


def _do_not_wait(_: float) -> None:
    raise _StillLoading


def _server_of(
    options: ChatOptions,
    host: str,
    environment: Environment,
    modes: Collection[SystemPrompt],
    sleep: Callable[[float], object] = gevent.sleep,
) -> ReadyServer:
    """The server, which answers in these system-prompt modes if it is reached from here. Raises OptionError,
    UnusableUrl, PreflightFailed."""
    here = sends_from_here(environment)
    options = with_default_model(options)
    known = not here and options.engine != AUTO and options.model
    hosts = hosts_of(host) or [host]
    if known:
        server = server_from_options(options)
    else:
        server = in_common({each: find_server(options, each, sleep) for each in hosts})
    detected = as_detected(options, server.found.engine, server.model)
    check_turns(engine_of(detected), load_workload(options))
    check_images(engine_of(detected), options, load_workload(options).prompts)
    log_models(detected)
    if here and options.preflight:
        try:
            result = preflight_hosts(detected, hosts, modes, server.found.models, least_tokens_of(server.found))
        except PreflightFailed as error:
            raise PreflightFailed(f"{error}{engine_advice(server.found)}") from None
        server = replace(server, preflight=result)
    return server
