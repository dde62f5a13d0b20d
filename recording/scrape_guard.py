"""Keeps web pages that somebody has open in a browser from reading the metrics."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_HEADERS = [("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff")]
_REFUSAL = b"Metrics are not given to web pages of other origins.\n"


class ScrapeGuard:
    """A WSGI application around the one that gives out the metrics."""

    def __init__(self, application: WSGIApplication, bound_to: str) -> None:
        """bound_to: the address that the port listens on. If it is of this machine alone, so has to be the Host header:
        a name that an attacker lets point here is refused. Others may have any name, as Prometheus calls them."""
        self._application = application
        self._is_local = is_local(bound_to)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if self._is_foreign(environ):
            start_response("403 Forbidden", list(_HEADERS))
            return [_REFUSAL]
        return self._application(environ, start_response)

    def _is_foreign(self, environ: WSGIEnvironment) -> bool:
        host = str(environ.get("HTTP_HOST", ""))
        if self._is_local and host and not is_local(_name_of(host)):
            return True
        site = str(environ.get("HTTP_SEC_FETCH_SITE", ""))
        opens_page = environ.get("HTTP_SEC_FETCH_DEST") == "document"  # as a link of a dashboard does
        if site not in ("", "none", "same-origin"):
            return not opens_page
        return "HTTP_ORIGIN" in environ and site != "same-origin"


def is_local(name: str) -> bool:
    """Whether a name or address is of this machine itself."""
    if name.lower().removesuffix(".") == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _name_of(host: str) -> str:
    """A Host header without its port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
