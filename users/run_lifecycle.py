"""A run's beginning and end, as its users see them, inside Locust."""

from __future__ import annotations

import gc
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

from engines import ENGINES, Found, TemplatedEngine
from metrics.health import SelfCheck
from metrics.recorder import Recorder
from options import collect_errors
from prompts import SHIPPED_SOURCES, PromptReuse, PromptSet, new_run_nonce
from sanitize import API_KEY_VARIABLE
from users.address import base_url, origin_of
from users.chat import StreamingUser
from users.options import (
    AUTO,
    KEY_SERVERS,
    USERS_OF_WORKER,
    ChatOptions,
    OptionError,
    ServerMetricsOptions,
    Stamps,
    TokenTimes,
    api_key,
    engine_of,
    request_headers,
)
from users.preflight import longest_preflight_s, preflight
from users.self_check import SelfCheckFailed, self_check
from users.server import Server, find_server, unasked
from users.server_metrics import ServerLog, ServerWatch
from users.session import Session, check_turns, load_given_material, load_material
from users.target import EmbeddedSimulator
from users.worker_calls import WorkerCall
from wire import UnusableUrl, process_limits, shortage

#: A self-check takes some seconds, and more on a machine that has other things to do.
_WORKERS_PATIENCE_S = 60.0

logger = logging.getLogger(__name__)


class SelfChecks:
    """Has each process that is to send load measure its own client first."""

    def __init__(self) -> None:
        self._call = WorkerCall("tokenswarm_self_check", self._on_worker)

    def attach(self, environment: Environment) -> None:
        """At Locust's init."""
        self._call.attach(environment)

    def make(self, environment: Environment, users: int) -> dict[int, SelfCheck]:
        """Where the books are kept, before the run begins; users: how many there will be on all processes together.
        Raises SelfCheckFailed, OptionError, WorkerCallFailed."""
        options = _options(environment)
        logger.info("Self-check: each worker measures its own client, for some seconds")
        if not isinstance(runner := environment.runner, MasterRunner):
            return {0: self_check(users, options.token_times, options.stamps)}
        workers = [client.id for client in runner.clients.ready]
        share = ceil(users / max(1, len(workers)))
        question = {"users": share, "token_times": options.token_times.value, "stamps": options.stamps.value}
        found = self._call.ask(runner, workers, question, share / 100 + _WORKERS_PATIENCE_S)
        checks = {runner.get_worker_index(name): _check_of(name, result) for name, result in found.items()}
        return dict(sorted(checks.items()))

    @staticmethod
    def _on_worker(_: Environment, asked: Mapping[str, Any]) -> Any:
        check = self_check(asked["users"], TokenTimes(asked["token_times"]), Stamps(asked["stamps"]))
        return msgspec.to_builtins(check)


def _check_of(name: str, result: Any) -> SelfCheck:
    try:
        return msgspec.convert(result, SelfCheck)
    except msgspec.ValidationError as error:
        raise SelfCheckFailed(f"worker {name} sent no self-check ({error})") from None


class Preflights:
    """Has one process that is to send load send a small request of each kind first."""

    def __init__(self) -> None:
        self._call = WorkerCall("tokenswarm_preflight", self._on_worker)

    def attach(self, environment: Environment) -> None:
        """At Locust's init."""
        self._call.attach(environment)

    def make_on_worker(
        self, runner: MasterRunner, options: ChatOptions, host: str, modes: Collection[str], found: Found
    ) -> None:
        """On a master whose workers are on other machines: one of them does it, as only they have to reach the server
        and to have its key. Raises PreflightFailed, WorkerCallFailed."""
        assert runner.environment.parsed_options is not None
        worker = min(client.id for client in runner.clients.ready)
        question = {
            "options": vars(runner.environment.parsed_options),
            "host": host,
            "modes": sorted(modes),
            "models": list(found.models),
            "least_tokens": _least_tokens(found),
        }
        patience_s = longest_preflight_s(options.timeouts, modes) + _WORKERS_PATIENCE_S
        self._call.ask(runner, [worker], question, patience_s)

    @staticmethod
    def _on_worker(environment: Environment, asked: Mapping[str, Any]) -> None:
        options = ChatOptions.of(Namespace(**{**vars(environment.parsed_options), **asked["options"]}))
        preflight(options, asked["host"], asked["modes"], asked["models"], asked["least_tokens"])


def _least_tokens(found: Found) -> int:
    return found.max_tokens_range[0] if found.max_tokens_range else 1


class Crew:
    """Prepares on each process what the users of a run share."""

    def __init__(self, events: Events) -> None:
        self._simulator: EmbeddedSimulator | None = None
        self._server: Server | None = None
        self._chosen: dict[str, str] | None = None
        self._watch: ServerWatch | None = None
        self._self_checks = SelfChecks()
        self._preflights = Preflights()
        StreamingUser.has_sessions = True
        events.test_stopping.add_listener(self._on_test_stopping)
        events.test_stop.add_listener(self._on_test_stop)
        events.quit.add_listener(self._on_quit)

    def attach(self, environment: Environment) -> None:
        """At Locust's init: check the options, load the prompts, and start the simulator where no host is given.
        Raises OptionError, PromptError, UnusableUrl."""
        self._self_checks.attach(environment)
        self._preflights.attach(environment)
        assert environment.parsed_options is not None
        options = self.load(environment.parsed_options)
        ServerMetricsOptions.of(environment.parsed_options)
        if options.tls.insecure:
            logger.warning("--tls-insecure: the server's certificate is not checked, anybody could be that server")
        if not environment.host and not isinstance(environment.runner, WorkerRunner):
            self._simulator = EmbeddedSimulator()
            environment.host = self._simulator.host
            logger.info("No --host was given: the embedded simulator at %s is this run's server", environment.host)

    def send_key_only_to(self, addresses: Iterable[str], given: Namespace) -> None:
        """Where a web page may choose the server: the API key is sent to none but these. Workers get the list with the
        other options."""
        roots = []
        for address in addresses:
            with suppress(UnusableUrl):
                roots.append(origin_of(address).root)
        vars(given)[KEY_SERVERS] = roots

    def load(self, given: Namespace) -> ChatOptions:
        """Check the options and load the prompts. What a process loads before it forks workers, they all have: the time
        and the memory are spent once. Raises OptionError, PromptError."""
        options = ChatOptions.of(given)
        load_material(options)
        return options

    def check_options(self, given: Namespace, host: str) -> None:
        """What the options can be wrong about, without asking the server; "" is no host. Raises OptionError,
        PromptError, UnusableUrl, OptionErrors."""
        with collect_errors() as errors:
            errors.of(ChatOptions.of, given)
            errors.of(load_given_material, given)
            errors.of(ServerMetricsOptions.of, given)
            if host:
                errors.of(origin_of, host)

    def facts(self, environment: Environment, modes: Collection[str]) -> dict[str, Any]:
        """Where the books are kept: what run.json says of what is asked, the server having been found to answer in the
        plan's system-prompt modes. Raises OptionError, PromptError, UnusableUrl, PreflightFailed, WorkerCallFailed."""
        parsed = environment.parsed_options
        assert parsed is not None
        options, host = ChatOptions.of(parsed), environment.host or ""
        _warn_of_withheld_key(options, host)
        server, self._server = self._server or _server_of(options, host, environment, modes), None
        self._chosen = {"engine": parsed.engine, "model": parsed.model, "prompt_nonce": parsed.prompt_nonce}
        # Workers get them with the other options, so that no node can ask another engine or for another model, and all
        # derive their prompts' nonces from the same.
        parsed.engine, parsed.model = server.found.engine, server.model
        parsed.prompt_nonce = run_nonce_of(options)
        _tell_left_out(load_material(options).prompts)
        if options.preflight and not _sends_from_here(environment):
            assert isinstance(environment.runner, MasterRunner)
            self._preflights.make_on_worker(environment.runner, options, host, modes, server.found)
        return {
            "host": base_url(host),
            "engine": server.found.engine,
            "model": server.model,
            "prompts": load_material(options).facts() | reuse_facts(options, parsed.prompt_nonce),
            "engine_version": server.found.version,
            "gateway": server.found.gateway,
            "engine_evidence": server.found.evidence,
            "chat_template": template_of(_options(environment)),
            "cold_start_s": server.waited_s,
            "embedded_simulator": self._simulator is not None,
        }

    def check(
        self, given: Namespace, host: str, environment: Environment, modes: Collection[str], wait: bool = True
    ) -> None:
        """Find out before a run in these system-prompt modes what would refuse it, and keep what was found of the
        server for `facts`. wait: until the server is ready; the run itself does so too. Raises OptionError,
        PromptError, UnusableUrl, PreflightFailed."""
        self._server = None
        with suppress(_StillLoading):
            sleep = gevent.sleep if wait else _do_not_wait
            self._server = _server_of(ChatOptions.of(given), host, environment, modes, sleep)

    def self_checks(self, environment: Environment, users: int) -> dict[int, SelfCheck]:
        """By worker, what each found of itself with its share of so many users; nothing where --self-check is not
        given. Raises SelfCheckFailed, OptionError."""
        return self._self_checks.make(environment, users) if _options(environment).self_check else {}

    def share_users(self, environment: Environment, users: int) -> None:
        """Where the run is led from, before it begins: find out whether this machine can have as many users, and tell
        each process how many it is to have. Raises OptionError."""
        runner, parsed = environment.runner, environment.parsed_options
        assert parsed is not None
        workers = len(runner.clients.ready) if isinstance(runner, MasterRunner) else 1
        vars(parsed)[USERS_OF_WORKER] = share = ceil(users / max(1, workers))
        if parsed.processes or not isinstance(runner, MasterRunner):  # its users are all on this machine
            _check_limits(share, of_machine=users)

    def begin(self, environment: Environment, recorder: Recorder) -> None:
        """On each process that has users, before the first of them. Raises OptionError, PromptError, UnusableUrl."""
        share = getattr(environment.parsed_options, USERS_OF_WORKER, 0)
        _check_limits(share, of_machine=share)
        StreamingUser.session = Session(_options(environment), environment.host or "", recorder)
        # What is there by now stays for the run. Looking through it for garbage held up the loop for 80 ms, again and
        # again: for longer than there is between two tokens.
        gc.collect()
        gc.freeze()

    def watch_server(self, environment: Environment, engine: str, log: ServerLog) -> None:
        """Where the books are kept, once a run has begun: look at what its server tells of itself, to its end."""
        options = _options(environment)
        assert environment.parsed_options is not None
        where = ServerMetricsOptions.of(environment.parsed_options)
        host = origin_of(environment.host or "")
        self._watch = ServerWatch(
            where, engine, host, request_headers(engine_of(options), options.key_for(host)), options.tls, log
        )
        self._watch.start()

    def allow_drain(self, environment: Environment, drain_s: float) -> None:
        """Where users are spread from: one that is told to go may end its stream first, for so long."""
        environment.stop_timeout = drain_s

    def _on_test_stopping(self, environment: Environment, **_: Any) -> None:
        # Between levels streams are let end; a run that is stopped ends as its user's --stop-timeout says: by default
        # at once, its streams cut.
        assert environment.parsed_options is not None
        environment.stop_timeout = environment.parsed_options.stop_timeout

    def _on_test_stop(self, environment: Environment, **_: Any) -> None:
        StreamingUser.session = None
        gc.unfreeze()
        if self._chosen is not None:
            # The next run of this process finds its own server, if that is what was chosen.
            vars(environment.parsed_options).update(self._chosen)
            self._chosen = None
        if self._watch is not None:
            self._watch.stop()
            self._watch = None

    def _on_quit(self, **_: Any) -> None:
        # Locust's very last event: until then, streams may still run that would break with their server.
        if self._simulator is not None:
            self._simulator.stop()
            self._simulator = None


def run_nonce_of(options: ChatOptions) -> str:
    """What the run's nonces are derived from: as given, or drawn now; "" where prompts get none."""
    if options.prompt_reuse is PromptReuse.ALWAYS:
        return ""
    return options.prompt_nonce or new_run_nonce()


def reuse_facts(options: ChatOptions, nonce: str) -> dict[str, str]:
    """What run.json says of repeated prompts. nonce: what this run's nonces are derived from."""
    facts = {"reuse": options.prompt_reuse.value}
    return facts | {"nonce": nonce, "nonce_source": "given" if options.prompt_nonce else "drawn"} if nonce else facts


def template_of(options: ChatOptions) -> str | None:
    """The chat template that requests are written with, None where the server applies its own."""
    engine = engine_of(options)
    if not isinstance(engine, TemplatedEngine):
        return None
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
    if api_key() and not options.may_have_key(origin_of(host)):
        logger.warning(
            "%s is not sent to %s: it is sent only to servers that the command line names (--host or "
            "--web-allow-target)",
            API_KEY_VARIABLE,
            host,
        )


class _StillLoading(Exception):
    """The server answers and is not ready."""


def _do_not_wait(_: float) -> None:
    raise _StillLoading


def _tell_left_out(prompts: PromptSet) -> None:
    """Of a source of the user's own, silence about rows that are not sent would be a trap."""
    if notice := prompts.left_out.notice():
        level = logging.INFO if prompts.source in SHIPPED_SOURCES else logging.WARNING
        logger.log(level, "Prompts from %s: %s", prompts.source, notice)


def _sends_from_here(environment: Environment) -> bool:
    """Whether this process or those that it forked send the load. Workers on other machines may stand where their
    master cannot reach."""
    assert environment.parsed_options is not None
    return not isinstance(environment.runner, MasterRunner) or bool(environment.parsed_options.processes)


def _server_of(
    options: ChatOptions,
    host: str,
    environment: Environment,
    modes: Collection[str],
    sleep: Callable[[float], object] = gevent.sleep,
) -> Server:
    """The server, which answers in these system-prompt modes if it is reached from here. Raises OptionError,
    UnusableUrl, PreflightFailed."""
    here = _sends_from_here(environment)
    known = not here and options.engine != AUTO and options.model
    server = unasked(options) if known else find_server(options, host, sleep)
    check_turns(ENGINES[server.found.engine], load_material(options))
    if here and options.preflight:
        asked = replace(options, engine=server.found.engine, model=server.model)
        preflight(asked, host, modes, server.found.models, _least_tokens(server.found))
    return server
