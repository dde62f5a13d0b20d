"""Reads server-side metrics during a run, on connections of its own.

Runs in the process that aggregates the results. Nothing here may end a run or slow it down: every read has a time
limit, and a failed one is counted.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Protocol

import gevent

from tokenswarm.client.server_metrics_options import ServerMetricsOptions
from tokenswarm.engines import ENGINES
from tokenswarm.engines.engine_metrics import Concept
from tokenswarm.engines.server_metrics import MetricsUnreadable, read_metrics
from tokenswarm.sanitize import server_text
from tokenswarm.wire import Origin, Proxy, StreamClient, TlsSettings, WireError

logger = logging.getLogger(__name__)

#: A loaded server may be slow to respond; a longer read would overlap the next.
LIMIT_S = 4.0
_CONNECT_LIMIT_S = 2.0
_CHECK_EVERY_S = 0.2
_MOST_NOTE_CHARACTERS = 500
#: From here on the server means that it cannot answer now.
_SERVER_ERROR = 500


class MetricsLog(Protocol):
    """Receives the metrics, and knows when the next read is due."""

    def server_is_due(self) -> bool: ...

    def server_found(self, source: str | None, gpu_source: str | None, note: str | None) -> None: ...

    def take_server_values(self, values: Mapping[str, float], failures: int) -> None: ...


class NoMetricsPage(Exception):
    """The server has no such page; it will have none later either."""


_UNREADABLE = (NoMetricsPage, WireError, MetricsUnreadable)


class MetricsPage:
    """A page of metrics at an address. The API key goes nowhere but to the server under load itself."""

    def __init__(
        self,
        address: Origin,
        tls: TlsSettings,
        headers: Mapping[str, str] | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        scheme = "https" if address.tls else "http"
        self.url = f"{scheme}://{address.authority}{address.prefix}"
        context = tls.context() if address.tls else None
        self._client = StreamClient(address, _CONNECT_LIMIT_S, headers, context, proxy=proxy)

    def read(self) -> dict[Concept, float]:
        """Raises NoMetricsPage, WireError, MetricsUnreadable."""
        try:
            status, body = self._client.fetch("", LIMIT_S)
        finally:
            self._client.close()  # until the next read the server would close it
        if status >= _SERVER_ERROR:
            raise MetricsUnreadable(f"HTTP {status}")
        if status != 200:
            raise NoMetricsPage(f"HTTP {status}")
        return read_metrics(body)


def metrics_pages(
    engine: str, host: Origin, headers: Mapping[str, str], tls: TlsSettings, proxy: Proxy | None = None
) -> list[MetricsPage]:
    """Where the engine may show its metrics, in the order to try. `headers` go to the port of the requests only."""
    return [
        MetricsPage(replace(host, prefix=host.prefix + page.path), tls, headers, proxy)
        if page.port is None
        else MetricsPage(replace(host, port=page.port, prefix=page.path), tls, proxy=proxy)
        for page in ENGINES[engine].metrics.endpoints
    ]


class HostMetricsPages:
    """The pages of one server, in the order to try; once one of them has metrics, that one alone."""

    def __init__(self, pages: list[MetricsPage], may_give_up: bool) -> None:
        """may_give_up: whether a page that does not exist is not tried again."""
        self.pages = pages
        self.found: MetricsPage | None = None
        self._may_give_up = may_give_up

    def read(self, reasons: list[str]) -> dict[Concept, float]:
        """The current values; {} where no page has any, with what was wrong added to `reasons`."""
        for page in list(self.pages):
            try:
                values = page.read()
            except _UNREADABLE as error:
                reasons.append(f"{page.url}: {error}")
                if isinstance(error, NoMetricsPage) and self._may_give_up and self.found is None:
                    self.pages.remove(page)
                continue
            if values:
                if self.found is None:
                    self.found, self.pages = page, [page]
                    logger.info("Server-side metrics are read from %s", page.url)
                return values
            reasons.append(f"{page.url}: it has no metric that is known here")
        return {}


def together(of_hosts: Sequence[Mapping[Concept, float]]) -> dict[Concept, float]:
    """What several servers report at once, as of one: counts are sums, shares and single times are means. Only what all
    of them report: a sum over fewer would look like a counter that was set back."""
    first, *others = of_hosts
    found = {}
    for concept in first:
        if all(concept in other for other in others):
            values = [each[concept] for each in of_hosts]
            found[concept] = fmean(values) if concept in _MEANS else sum(values)
    return found


_MEANS = frozenset(
    (
        Concept.KV_CACHE_UTILIZATION,
        Concept.PREFIX_CACHE_HIT_RATIO,
        Concept.GPU_UTILIZATION,
        Concept.TTFT_SECONDS_LAST,
    )
)


class MetricsScraper:
    """Reads the pages again and again, until it is stopped."""

    def __init__(
        self,
        options: ServerMetricsOptions,
        engine: str,
        hosts: Mapping[Origin, Mapping[str, str]],
        tls: TlsSettings,
        log: MetricsLog,
        proxy: Proxy | None = None,
    ) -> None:
        """hosts: each with the headers of every request to it. Raises UnusableCertificates."""
        self._log = log
        self._servers: list[HostMetricsPages] = []
        if options.page:
            self._servers = [HostMetricsPages([MetricsPage(options.page, tls, proxy=proxy)], may_give_up=False)]
        if options.auto:
            self._servers = [
                HostMetricsPages(pages, may_give_up=True)
                for host, headers in hosts.items()
                if (pages := metrics_pages(engine, host, headers, tls, proxy))
            ]
        self._gpu_page = MetricsPage(options.gpu_page, tls, proxy=proxy) if options.gpu_page else None
        self._note: str | None = None
        if not self._servers:
            self._note = f"{engine} shows no metrics" if options.auto else "off"
        self._greenlet: gevent.Greenlet[..., None] | None = None

    def start(self) -> None:
        """Read from now on."""
        self._log_sources()
        self._greenlet = gevent.spawn(self._watch)

    def stop(self) -> None:
        """Read no more, even if a read is under way."""
        if self._greenlet is not None:
            self._greenlet.kill()

    @property
    def _has_pages(self) -> bool:
        """Whether every server may still show metrics: without one of them there is no sum."""
        return bool(self._servers) and all(server.pages for server in self._servers)

    def _watch(self) -> None:
        while self._has_pages or self._gpu_page:
            if self._log.server_is_due():
                self._log.take_server_values(*self._scrape())
            gevent.sleep(_CHECK_EVERY_S)

    def _scrape(self) -> tuple[dict[str, float], int]:
        """(current values of the servers and their GPUs, how many pages could not be read)"""
        values: dict[Concept, float] = {}
        failures = 0
        if self._has_pages:
            of_servers = self._read_servers()
            values |= together(of_servers)
            failures += sum(not of_server for of_server in of_servers)
        if self._gpu_page is not None:
            try:
                values |= self._gpu_page.read()
            except _UNREADABLE as error:
                failures += 1
                self._note_once(f"{self._gpu_page.url}: {error}")
        return {concept.value: value for concept, value in values.items()}, failures

    def _read_servers(self) -> list[dict[Concept, float]]:
        before, reasons = self._found, list[str]()
        reads = [gevent.spawn(server.read, reasons) for server in self._servers]
        try:
            values = [read.get() for read in reads]
        finally:
            gevent.killall(reads)
        if all(values):
            if len(self._found) > len(before):
                self._note = None
                self._log_sources()
        else:
            self._note_once("; ".join(reasons))
        return values

    @property
    def _found(self) -> list[MetricsPage]:
        return [server.found for server in self._servers if server.found is not None]

    def _note_once(self, reason: str) -> None:
        if self._note is None:
            self._note = server_text(reason, _MOST_NOTE_CHARACTERS)
            logger.warning("Some server-side metrics cannot be read: %s", self._note)
            self._log_sources()

    def _log_sources(self) -> None:
        source = ", ".join(page.url for page in self._found) or None
        self._log.server_found(source, self._gpu_page.url if self._gpu_page else None, self._note)
