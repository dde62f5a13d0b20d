"""Where requests go: scheme, host, port and path prefix of a server's base URL."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from wire.errors import UnusableUrl


@dataclass(frozen=True, slots=True)
class Origin:
    """A server's address. `prefix` is the path part of the base URL, without its last slash."""

    host: str
    port: int
    prefix: str = ""

    @classmethod
    def parse(cls, url: str) -> Origin:
        """Read `http://host[:port][/prefix]`. Raises UnusableUrl with one sentence that says what to write."""
        parts = urlsplit(url.strip())
        # The one seam for TLS: a scheme names how an Origin's bytes are wrapped, and only `http` is known so far.
        if parts.scheme != "http":
            got = f"{parts.scheme}://" if parts.scheme and parts.netloc else "no scheme"
            raise UnusableUrl(f"--host must start with http:// (got {got} in {url!r}); write it as http://HOST:PORT.")
        if not parts.hostname:
            raise UnusableUrl(f"--host names no host: {url!r}; write it as http://HOST:PORT.")
        if parts.username or parts.password:
            raise UnusableUrl("--host must not hold a user name or password; set the LLM_API_KEY variable instead.")
        try:
            port = parts.port or 80
        except ValueError:
            raise UnusableUrl(f"--host has a port that is no number from 0 to 65535: {url!r}.") from None
        return cls(parts.hostname, port, parts.path.rstrip("/"))

    @property
    def authority(self) -> str:
        """The Host header's value; an IPv6 address goes in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 80 else f"{host}:{self.port}"
