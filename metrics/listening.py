"""Which ports this process listens on: for its page, its workers and Prometheus. Two on one machine must not clash."""

from __future__ import annotations

from argparse import Namespace

from metrics.master_port import check_master_port
from metrics.protocol import FORKED_CLUSTER
from options import Collected, Given, collect_errors, first_free_port, free_port, why_not_free

_LOOPBACK = "127.0.0.1"


class PortError(ValueError):
    """A port that was given cannot be had; the text says why and what to do."""


def choose_ports(given: Given) -> list[str]:
    """Before anything listens: fill in the ports that were not given, and check those that were. Returns a sentence for
    each that is not the usual one. Raises PortError, MasterPortError, OptionErrors."""
    options, notices = given.options, []
    if options.worker:
        return []
    with collect_errors() as errors:
        if options.processes:
            errors.of(_bind_for_forked_workers, given)
        if options.processes or options.master:
            errors.of(check_master_port, options.master_bind_host, options.master_bind_port)
        if not options.headless or options.headful:
            notices += errors.of(_choose_web_port, given) or []
        _check_metrics_port(given, errors)
    return notices


def _bind_for_forked_workers(given: Given) -> None:
    """Workers that this process forks learn its port from it, and nobody else needs to reach it."""
    options, sources = given.options, given.sources
    if "master_bind_host" not in sources:
        options.master_bind_host = _LOOPBACK
    if "master_bind_port" not in sources:
        options.master_bind_port = (
            options.master_port if "master_port" in sources else free_port(options.master_bind_host)
        )
    if "master_port" not in sources:
        options.master_port = options.master_bind_port
    if "cluster" not in sources:
        options.cluster = FORKED_CLUSTER


def _choose_web_port(given: Given) -> list[str]:
    options: Namespace = given.options
    usual = options.web_port
    reason = why_not_free(options.web_host, usual)
    if reason is None:
        return []
    if "web_port" not in given.sources:
        options.web_port = first_free_port(options.web_host, usual)
    if options.web_port == usual:
        raise PortError(
            f"the page's port {options.web_host}:{usual} cannot be had ({reason}); choose another with --web-port, or "
            "another address with --web-host."
        )
    return [f"Port {usual} is taken: the web page has port {options.web_port} (--web-port chooses one)"]


def _check_metrics_port(given: Given, errors: Collected) -> None:
    """One that was not given is chosen when it is opened."""
    options = given.options
    if "metrics_port" not in given.sources or not 0 < options.metrics_port < 65536:
        return
    if reason := why_not_free(options.metrics_host, options.metrics_port):
        errors.add(
            PortError(
                f"the metrics port {options.metrics_host}:{options.metrics_port} cannot be had ({reason}); choose "
                "another with --metrics-port, or leave the option out to have a free one taken."
            )
        )
