"""A worker's users: as many as its master requests, stopped when the worker ends."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from math import inf

import gevent
from gevent.pool import Group
from locust import User
from locust.runners import STATE_RUNNING, STATE_SPAWNING, WorkerRunner

from tokenswarm.upstream.locust_internals import is_stopping, replace_start_worker

logger = logging.getLogger(__name__)

_POLL_S = 0.1


class WorkerUsers:
    """Starts and stops users in place of Locust's own code, which counts a user that ends its last stream as one that
    continues. stopping: whether all users are being stopped."""

    def __init__(self, runner: WorkerRunner, on_change: Callable[[], None]) -> None:
        """on_change: called when users that were stopped have ended."""
        self._runner = runner
        self._on_change = on_change
        self._deadline_s = inf
        self.stopping = False
        replace_start_worker(runner, self.start)

    def start(self, user_classes_count: dict[str, int], **_: object) -> None:
        """Start or stop users until so many of each class are there, besides those that end their last stream."""
        runner = self._runner
        runner.target_user_classes_count = user_classes_count
        runner.target_user_count = sum(user_classes_count.values())
        for user_class in runner.user_classes:
            if runner.environment.host:
                user_class.host = runner.environment.host
        running = self._running()
        missing = {name: count - len(running.get(name, [])) for name, count in user_classes_count.items()}
        runner.spawn_users({name: count for name, count in missing.items() if count > 0})
        surplus = [user for name, count in missing.items() if count < 0 for user in running[name][:-count]]
        if surplus:
            gevent.spawn(self._end, surplus)
        runner.spawning_complete(sum(runner.user_classes_count.values()))
        runner.update_state(STATE_RUNNING)

    def stop(self, timeout_s: float) -> None:
        """Stop all users, cancel the streams that still run after timeout_s, and return when all users have ended. A
        second call meanwhile can only shorten the timeout."""
        self._deadline_s = min(self._deadline_s, _now_s() + timeout_s)
        if self.stopping:
            while self.stopping:
                gevent.sleep(_POLL_S)
            return
        runner = self._runner
        if runner.worker_state not in (STATE_SPAWNING, STATE_RUNNING):
            self._deadline_s = inf
            return
        assert runner.environment.parsed_options is not None
        runner.environment.parsed_options.stop_timeout = timeout_s
        self.stopping = True
        watch = gevent.spawn(self._watch_deadline)
        try:
            runner.stop()
        finally:
            self.stopping, self._deadline_s = False, inf
            watch.kill(block=False)

    def _watch_deadline(self) -> None:
        """Locust's own timeout cannot be shortened once it has begun."""
        while _now_s() < self._deadline_s:
            gevent.sleep(_POLL_S)
        self._runner.user_greenlets.kill(block=False)

    def _running(self) -> dict[str, list[User]]:
        """Users by the name of their class, without those that were stopped."""
        running: dict[str, list[User]] = {}
        for greenlet in self._runner.user_greenlets:
            if not greenlet.args:
                continue  # it has ended
            user = greenlet.args[0]
            if not is_stopping(user):
                running.setdefault(type(user).__name__, []).append(user)
        return running

    def _end(self, users: list[User]) -> None:
        stop_timeout_s = self._runner.environment.stop_timeout
        group = Group()
        for user in users:
            if is_stopping(user):
                continue
            group.add(user.greenlet)
            if stop_timeout_s:
                user.stop()
            else:
                user.greenlet.kill(block=False)
        if not group.join(timeout=stop_timeout_s or None):
            logger.info("%d users did not end within %g s and are stopped", len(group), stop_timeout_s)
            group.kill()
        self._on_change()


def _now_s() -> float:
    return time.perf_counter_ns() / 1e9
