"""Where requests go: scheme, host, port and path prefix of a server's base URL."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from tokenswarm.wire.errors import UnusableUrl

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """A server's address. `prefix` is the path part of the base URL, without its last slash."""

    host: str
    port: int
    prefix: str = ""
    tls: bool = False

    @classmethod
    def parse(cls, url: str) -> Origin:
        """Read `http[s]://host[:port][/prefix]`. Raises UnusableUrl with one sentence that says what to write."""
        url = url.strip()
        if "@" in url.split("//", 1)[-1].split("/", 1)[0]:  # first of all: the other sentences repeat what was given
            raise UnusableUrl("--host must not hold a user name or password; set the LLM_API_KEY variable instead.")
        try:
            parts = urlsplit(url)
        except ValueError:
            raise UnusableUrl(f"--host has no address in its brackets: {url!r}; write http://[::1]:PORT.") from None
        if parts.scheme not in _DEFAULT_PORTS:
            got = f"{parts.scheme}://" if parts.scheme and parts.netloc else "no scheme"
            raise UnusableUrl(
                f"--host must start with http:// or https:// (got {got} in {url!r}); write it as http://HOST:PORT."
            )
        if not parts.hostname:
            raise UnusableUrl(f"--host names no host: {url!r}; write it as http://HOST:PORT.")
        if not url.isascii() or not url.isprintable() or any(mark in url for mark in " ?#"):
            raise UnusableUrl(
                "--host is http://HOST:PORT/PREFIX in plain ASCII without spaces and #; a ?query may stand only "
                f"behind the path of an endpoint, such as /chat/completions: {url!r}."
            )
        if any(not 0 < len(label) < 64 for label in parts.hostname.removesuffix(".").split(".")):
            raise UnusableUrl(f"--host has an empty part, or one of more than 63 letters, between its dots: {url!r}.")
        try:
            port = _DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port
        except ValueError:
            port = 0
        if port == 0:
            raise UnusableUrl(f"--host has a port that is no number from 1 to 65535: {url!r}.")
        return cls(parts.hostname, port, parts.path.rstrip("/"), tls=parts.scheme == "https")

    @property
    def root(self) -> str:
        """scheme://host:port, the same for every address of one server."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host.removesuffix('.')}:{self.port}"

    @property
    def authority(self) -> str:
        """The Host header's value; an IPv6 address goes in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS["https" if self.tls else "http"] else f"{host}:{self.port}"
