"""Which HTTP requests the web page answers: not those that a page of another origin has the browser send.

Browsers say where a request comes from (Origin, Sec-Fetch-Site) and under which name they know this server (Host). No
script of a web page can set those headers. Requests without any sign of a browser, like curl's, pass: no web page can
send one.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

_AUTHORITY = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
_ALL_ADDRESSES = frozenset(("", "*", "0.0.0.0", "::", "[::]"))  # noqa: S104
_SHOWN_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class WebRequest:
    """The headers of an HTTP request that say where it comes from; "" where one is missing. page_token: the value of
    the page's own cookie."""

    method: str
    path: str
    host: str
    origin: str = ""
    fetch_site: str = ""
    fetch_mode: str = ""
    fetch_dest: str = ""
    referer: str = ""
    user_agent: str = ""
    has_cookies: bool = False
    page_token: str = ""

    @property
    def is_from_browser(self) -> bool:
        """Whether a browser sent it: every browser sends at least one of these headers."""
        return bool(
            self.origin or self.fetch_site or self.referer or self.has_cookies or "mozilla/" in self.user_agent.lower()
        )

    @property
    def is_navigation(self) -> bool:
        """Whether a link or the address bar opens it as a page of its own, which no other page can read."""
        return self.method in ("GET", "HEAD") and (self.fetch_mode, self.fetch_dest) == ("navigate", "document")


@dataclass(frozen=True, slots=True)
class AllowedOrigins:
    """names: under which the page may be addressed, lower-case. any_address: by any IP address too. is_entry: whether
    links of other sites may open the path. token: the value of the page's own cookie."""

    names: Collection[str]
    any_address: bool
    is_entry: Callable[[str], bool]
    token: str

    def refusal(self, request: WebRequest) -> str | None:
        """Why the request is not answered, in a sentence; None where it is."""
        if not self._is_ours(request.host):
            shown = request.host[:_SHOWN_CHARACTERS]
            return (
                f"This page does not answer to the name {shown!r}. If it is its name, start it with --web-allow-host."
            )
        if not self._is_same_origin(request) and not (request.is_navigation and self.is_entry(request.path)):
            return self._foreign(request)
        changes = request.method not in _SAFE_METHODS
        if (
            changes
            and request.is_from_browser
            and not hmac.compare_digest(request.page_token.encode(), self.token.encode())
        ):
            return "The page in the browser is older than this process, or its cookies are blocked. Reload the page."
        return None

    def _is_ours(self, host: str) -> bool:
        parsed = _AUTHORITY.fullmatch(host.lower())
        if parsed is None:
            return False
        name = parsed["name"].strip("[]").removesuffix(".")
        return name in self.names or is_loopback(name) or (self.any_address and _is_address(name))

    @staticmethod
    def _foreign(request: WebRequest) -> str:
        refusal = "Requests that come from another web page are not answered."
        if request.fetch_site in ("", "none") and (opened_as := _authority_of(request.origin)):
            refusal += (
                f" This one was sent to {request.host[:_SHOWN_CHARACTERS]!r} by a page of "
                f"{opened_as[:_SHOWN_CHARACTERS]!r}: if that is a proxy in front of this page, have it pass the "
                "browser's Host header on."
            )
        return refusal

    @staticmethod
    def _is_same_origin(request: WebRequest) -> bool:
        if request.fetch_site == "same-origin":
            return True  # the browser has compared the whole URLs; a proxy may have changed Host since
        if request.fetch_site not in ("", "none"):
            return False
        return not request.origin or _authority_of(request.origin) == _normal(request.host, request.origin)


def allowed_names(web_host: str, extra: Collection[str], machine: str) -> tuple[frozenset[str], bool]:
    """(names, whether any IP address will do) for a page bound to web_host. An address as Host is never an attack by
    DNS: only names can be made to point here."""
    names = set(extra)
    if is_loopback_bind(web_host):
        return frozenset(names), False
    if web_host in _ALL_ADDRESSES:
        names.add(machine.lower().removesuffix("."))
    else:
        names.add(web_host.lower().strip("[]").removesuffix("."))
    return frozenset(names), True


def is_loopback_bind(web_host: str) -> bool:
    """Whether a page bound to this --web-host can be reached from this machine only."""
    return web_host not in _ALL_ADDRESSES and is_loopback(web_host.strip("[]"))


def is_loopback(name: str) -> bool:
    """Whether the name or address (without brackets) is of this machine itself."""
    return name.lower().removesuffix(".") == "localhost" or (_is_address(name) and ip_address(name).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _authority_of(origin: str) -> str | None:
    """host:port of an Origin header, None for `null` and what is none."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not _AUTHORITY.fullmatch(parts.netloc.lower()):
        return None
    return _normal(parts.netloc, origin)


def _normal(authority: str, origin: str) -> str | None:
    """host:port in lower case; without a port, that of the origin's scheme."""
    parsed = _AUTHORITY.fullmatch(authority.lower())
    if parsed is None:
        return None
    scheme = origin.partition(":")[0].lower()
    return f"{parsed['name'].removesuffix('.')}:{parsed['port'] or _DEFAULT_PORTS.get(scheme, '')}"
