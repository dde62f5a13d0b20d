"""The server's address as people write it: with or without a scheme, /v1, or the whole path of a request."""

from __future__ import annotations

import re

from engines import ENGINES
from wire import Origin

#: What an address may end with though requests add it themselves; the longest is cut off first.
_REQUEST_PATHS = sorted(
    {"/v1", "/v1/models", "/v1/completions"} | {engine.path for engine in ENGINES.values()}, key=len, reverse=True
)
_HTTPS_PORT = re.compile(r"[^/]*:443(/|$)")


def base_url(host: str) -> str:
    """--host without what requests add: http://gpu:8000 for `gpu:8000`, `http://gpu:8000/`, `http://gpu:8000/v1` and
    `http://gpu:8000/v1/chat/completions`. Without a scheme it is http, and https for port 443. A prefix before these
    stays. What is no address comes back as it is."""
    url = host.strip().rstrip("/")
    if url and "://" not in url and not url.startswith("/"):
        url = f"{'https' if _HTTPS_PORT.match(url) else 'http'}://{url}"
    scheme, _, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    for ending in _REQUEST_PATHS:
        if f"/{path}".endswith(ending):
            prefix = f"/{path}".removesuffix(ending).rstrip("/")
            return f"{scheme}://{authority}{prefix}"
    return url


def origin_of(host: str) -> Origin:
    """--host as an address. Raises UnusableUrl."""
    return Origin.parse(base_url(host))
