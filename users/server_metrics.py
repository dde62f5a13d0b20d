"""Looks at what the server tells of itself while a run loads it: on connections of its own, beside the users.

Runs where the books are kept. Nothing here may end a run or slow one: every look has its time limit, and one that fails
is counted.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import gevent

from engines.server_metrics import PAGES, Concept, MetricsUnreadable, read_metrics
from sanitize import server_text
from users.options import ServerMetricsOptions
from wire import Origin, StreamClient, TlsSettings, WireError

logger = logging.getLogger(__name__)

#: A loaded server may be slow to tell; a look that took longer would run into the next.
LIMIT_S = 4.0
_CONNECT_LIMIT_S = 2.0
_ASK_WHETHER_DUE_S = 0.2
_MOST_NOTE_CHARACTERS = 500
#: From here on the server means that it cannot answer now.
_SERVER_ERROR = 500


class ServerLog(Protocol):
    """Takes what was seen, and knows when to look."""

    def server_is_due(self) -> bool: ...

    def server_found(self, source: str | None, gpu_source: str | None, note: str | None) -> None: ...

    def take_server_values(self, values: Mapping[str, float], failures: int) -> None: ...


class NothingThere(Exception):
    """The server has no such page; it will have none later either."""


_UNREADABLE = (NothingThere, WireError, MetricsUnreadable)


class MetricsPage:
    """A page of metrics at an address. The API key goes nowhere but to the server under load itself."""

    def __init__(self, address: Origin, tls: TlsSettings, headers: Mapping[str, str] | None = None) -> None:
        scheme = "https" if address.tls else "http"
        self.url = f"{scheme}://{address.authority}{address.prefix}"
        self._client = StreamClient(address, _CONNECT_LIMIT_S, headers, tls.context() if address.tls else None)

    def read(self) -> dict[Concept, float]:
        """Raises NothingThere, WireError, MetricsUnreadable."""
        try:
            status, body = self._client.fetch("", LIMIT_S)
        finally:
            self._client.close()  # until the next look the server would close it
        if status >= _SERVER_ERROR:
            raise MetricsUnreadable(f"HTTP {status}")
        if status != 200:
            raise NothingThere(f"HTTP {status}")
        return read_metrics(body)


def metrics_pages(engine: str, host: Origin, headers: Mapping[str, str], tls: TlsSettings) -> list[MetricsPage]:
    """Where the engine may show its metrics, in the order to try. `headers` go to the port of the requests only."""
    return [
        MetricsPage(replace(host, prefix=host.prefix + page.path), tls, headers)
        if page.port is None
        else MetricsPage(replace(host, port=page.port, prefix=page.path), tls)
        for page in PAGES[engine]
    ]


class ServerWatch:
    """Looks again and again, until it is stopped."""

    def __init__(
        self,
        options: ServerMetricsOptions,
        engine: str,
        host: Origin,
        headers: Mapping[str, str],
        tls: TlsSettings,
        log: ServerLog,
    ) -> None:
        """`headers` are those of every request to `host`. Raises UnusableCertificates."""
        self._log = log
        self._pages = [MetricsPage(options.page, tls)] if options.page else []
        if options.auto:
            self._pages = metrics_pages(engine, host, headers, tls)
        self._gpu_page = MetricsPage(options.gpu_page, tls) if options.gpu_page else None
        self._may_give_up = options.auto
        self._found: MetricsPage | None = None
        self._note: str | None = None
        if not self._pages:
            self._note = f"{engine} shows no metrics" if options.auto else "off"
        self._greenlet: gevent.Greenlet[..., None] | None = None

    def start(self) -> None:
        """Look from now on."""
        self._tell_sources()
        self._greenlet = gevent.spawn(self._watch)

    def stop(self) -> None:
        """Look no more, even if a look is under way."""
        if self._greenlet is not None:
            self._greenlet.kill()

    def _watch(self) -> None:
        while self._pages or self._gpu_page:
            if self._log.server_is_due():
                self._log.take_server_values(*self._look())
            gevent.sleep(_ASK_WHETHER_DUE_S)

    def _look(self) -> tuple[dict[str, float], int]:
        """(what the server and its GPUs tell now, how many pages could not be read)"""
        values: dict[Concept, float] = {}
        failures = 0
        if self._pages:
            told = self._read_server()
            values |= told
            failures += not told
        if self._gpu_page is not None:
            try:
                values |= self._gpu_page.read()
            except _UNREADABLE as error:
                failures += 1
                self._note_once(f"{self._gpu_page.url}: {error}")
        return {concept.value: value for concept, value in values.items()}, failures

    def _read_server(self) -> dict[Concept, float]:
        reasons = []
        for page in list(self._pages):
            try:
                told = page.read()
            except _UNREADABLE as error:
                reasons.append(f"{page.url}: {error}")
                if isinstance(error, NothingThere) and self._may_give_up and self._found is None:
                    self._pages.remove(page)
                continue
            if told:
                self._settle_on(page)
                return told
            reasons.append(f"{page.url}: it tells nothing that is known here")
        self._note_once("; ".join(reasons))
        return {}

    def _settle_on(self, page: MetricsPage) -> None:
        if self._found is None:
            self._found, self._pages, self._note = page, [page], None
            logger.info("What the server tells of itself is read from %s", page.url)
            self._tell_sources()

    def _note_once(self, reason: str) -> None:
        if self._note is None:
            self._note = server_text(reason, _MOST_NOTE_CHARACTERS)
            logger.warning("Of the server's own metrics, not all can be read: %s", self._note)
            self._tell_sources()

    def _tell_sources(self) -> None:
        self._log.server_found(
            self._found.url if self._found else None, self._gpu_page.url if self._gpu_page else None, self._note
        )
