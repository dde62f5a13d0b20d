"""Which levels the servers' prefix caches are flushed before, by whom, and what becomes of a refusal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from locust.argument_parser import get_empty_argument_parser
from locust.runners import MasterRunner

import tokenswarm.users.cache_flushes
from tokenswarm.client.request_options import add_options
from tokenswarm.cluster.worker_calls import WorkerCallFailed
from tokenswarm.metrics.level import Level
from tokenswarm.users.cache_flushes import CacheFlushes

HOSTS = ["http://one:8000", "http://two:8000"]


class Master(MasterRunner):
    """A master with these workers, which is connected to nobody."""

    def __init__(self, *workers: str) -> None:
        clients = [SimpleNamespace(id=worker) for worker in workers]
        self.greenlet = None  # looked for when it is collected
        self.clients = SimpleNamespace(ready=[], running=clients)  # type: ignore[assignment]

    def register_message(self, *_: Any, **__: Any) -> None:
        pass


@pytest.fixture
def flushes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[CacheFlushes, list[list[str]]]]:
    """What flushes, and the hosts of each flush from this process."""

    def make(use: str, *refusals: list[str], runner: Any = None) -> tuple[CacheFlushes, list[list[str]]]:
        parser = get_empty_argument_parser(default_config_files=[])
        add_options(parser)
        options = parser.parse_args(["--engine", "vllm", "--cache", use])
        environment = SimpleNamespace(parsed_options=options, runner=runner, host=",".join(HOSTS))
        answers, seen = list(refusals), list[list[str]]()

        def flush(_: object, hosts: list[str]) -> list[str]:
            seen.append(list(hosts))
            return answers.pop(0) if answers else []

        monkeypatch.setattr(tokenswarm.users.cache_flushes, "flush_caches", flush)
        found = CacheFlushes()
        found.attach(environment)  # type: ignore[arg-type]
        return found, seen

    return make


def levels(*warm_ups: bool) -> list[Level]:
    return [Level(index, "off", "1", 1, warm_up=warm_up) for index, warm_up in enumerate(warm_ups)]


def test_each_level_begins_with_a_flush(flushes: Callable[..., Any]) -> None:
    found, seen = flushes("flush")
    assert [found.before(level, from_here=True).cache_flushed for level in levels(False, False)] == [True, True]
    assert seen == [HOSTS, HOSTS]


def test_a_level_keeps_what_its_warm_up_left(flushes: Callable[..., Any]) -> None:
    found, seen = flushes("flush", [], ["two: no"])
    of_levels = [found.before(level, from_here=True).cache_flushed for level in levels(True, False, True, False)]
    assert of_levels == [True, True, False, False]
    assert len(seen) == 2


def test_the_first_level_of_a_run_is_flushed_whatever_the_last_run_ended_with(flushes: Callable[..., Any]) -> None:
    found, seen = flushes("flush")
    for level in levels(True)[:1] * 2:
        found.before(level, from_here=True)
    assert len(seen) == 2


@pytest.mark.parametrize("use", ["share", "bust"])
def test_nothing_is_flushed_where_it_is_not_required(flushes: Callable[..., Any], use: str) -> None:
    found, seen = flushes(use)
    assert found.before(levels(False)[0], from_here=True).cache_flushed is None
    assert seen == []


@pytest.mark.parametrize(
    ("workers", "answer", "flushed"),
    [
        (("b", "a"), [], True),
        (("b", "a"), ["one: HTTP 404"], False),
        (("b", "a"), WorkerCallFailed("worker a did not respond"), False),
        ((), [], False),
    ],
)
def test_a_worker_flushes_where_the_master_sends_nothing_itself(
    flushes: Callable[..., Any], workers: tuple[str, ...], answer: list[str] | Exception, flushed: bool
) -> None:
    found, seen = flushes("flush", runner=Master(*workers))
    calls = []

    def call(_: object, names: list[str], question: Mapping[str, Any], patience_s: float) -> dict[str, Any]:
        calls.append((names, question["hosts"]))
        if isinstance(answer, Exception):
            raise answer
        return {names[0]: answer}

    found._call.call = call
    assert found.before(levels(False)[0], from_here=False).cache_flushed is flushed
    assert calls == ([(["a"], HOSTS)] if workers else [])
    assert seen == []
