"""Flushes prefix caches before levels, from a process that is to send load."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

import msgspec
from locust.env import Environment
from locust.runners import MasterRunner

from tokenswarm.client.cache_options import CACHE_BLOCK_TOKENS, CacheUse
from tokenswarm.client.prompt_supply import makes_texts
from tokenswarm.client.request_options import ChatOptions
from tokenswarm.client.server_address import hosts_of
from tokenswarm.client.workload import load_workload
from tokenswarm.cluster.worker_calls import WorkerCall, WorkerCallFailed
from tokenswarm.metrics.level import Level
from tokenswarm.target.cache_blocks import cache_block_of
from tokenswarm.target.cache_flush import LONGEST_FLUSH_S, flush_caches

logger = logging.getLogger(__name__)


def find_cache_block(environment: Environment) -> dict[str, str | int]:
    """On the master, or the only process, once the engine stands in the options: find out how many tokens a block of
    the server's prefix cache has, where hits are to be expected, and put it into the options that workers get. Returns
    what run.json records of it."""
    parsed = environment.parsed_options
    assert parsed is not None
    vars(parsed)[CACHE_BLOCK_TOKENS] = None
    options = ChatOptions.of(parsed)
    if options.cache.shares and not makes_texts(options, load_workload(options).prompts):
        return {}
    host = hosts_of(environment.host or "")[0]  # the servers of a run have one engine
    if (block := cache_block_of(options, host)) is None:
        return {}
    vars(parsed)[CACHE_BLOCK_TOKENS] = block.tokens
    return {"cache_block_tokens": block.tokens, "cache_block_source": block.source}


class CacheFlushes:
    """Flushes the prefix caches of the servers of a run whose options require it."""

    def __init__(self) -> None:
        self._call = WorkerCall("tokenswarm_cache_flush", self._on_worker)
        #: Of the latest level; whether that is a warm-up, whose level begins with what it left in the cache.
        self._flushed: bool | None = None
        self._warming = False

    def attach(self, environment: Environment) -> None:
        """At Locust's init."""
        self._environment = environment
        self._call.attach(environment)

    def before(self, level: Level, *, from_here: bool) -> Level:
        """On the master, or the only process: flush the caches where the options require it, unless the level follows
        its warm-up. from_here: whether this process sends load to the server. Returns the level with what became of it;
        a refusal is logged."""
        if level.index == 0 or not self._warming:
            self._flushed = self._make(from_here)
        self._warming = level.warm_up
        return msgspec.structs.replace(level, cache_flushed=self._flushed)

    def _make(self, from_here: bool) -> bool | None:
        """Whether all caches were flushed, None where the options do not require it."""
        parsed, runner = self._environment.parsed_options, self._environment.runner
        assert parsed is not None
        options = ChatOptions.of(parsed)
        if options.cache.use is not CacheUse.FLUSH:
            return None
        hosts = hosts_of(self._environment.host or "")
        if from_here or not isinstance(runner, MasterRunner):
            refusals = flush_caches(options, hosts)
        else:
            refusals = self._on_some_worker(runner, vars(parsed), hosts)
        if refusals:
            logger.error(
                "--cache flush: THE PREFIX CACHE WAS NOT FLUSHED (%s): prompts of before may be found in it",
                "; ".join(refusals),
            )
        return not refusals

    def _on_some_worker(self, runner: MasterRunner, options: Mapping[str, Any], hosts: list[str]) -> list[str]:
        if not runner.clients.ready + runner.clients.running:
            return ["no worker is there to do it"]
        worker = min(client.id for client in runner.clients.ready + runner.clients.running)
        try:
            question = {"options": options, "hosts": hosts}
            (refusals,) = self._call.call(runner, [worker], question, LONGEST_FLUSH_S * len(hosts)).values()
        except WorkerCallFailed as error:
            return [str(error)]
        return [str(refusal) for refusal in refusals]

    @staticmethod
    def _on_worker(environment: Environment, question: Mapping[str, Any]) -> Any:
        options = ChatOptions.of(Namespace(**{**vars(environment.parsed_options), **question["options"]}))
        return flush_caches(options, question["hosts"])
