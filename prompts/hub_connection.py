"""Whether the Hugging Face hub can be reached, found out in seconds: its client tries for half a minute."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

_PATIENCE_S = 4.0
_PORTS = {"http": 80, "https": 443}


@contextmanager
def offline_if_unreachable() -> Iterator[None]:
    """Inside, the hub's libraries use what is cached on this machine alone, where the hub cannot be reached; the
    standard error says so."""
    from huggingface_hub import constants

    endpoint = str(constants.ENDPOINT)
    if constants.HF_HUB_OFFLINE or is_reachable(endpoint):
        yield
        return
    print(f"{endpoint} cannot be reached: only what is cached on this machine is used.", file=sys.stderr, flush=True)
    modules: list[Any] = [constants]
    if datasets := sys.modules.get("datasets"):
        modules.append(datasets.config)
    try:
        for module in modules:
            module.HF_HUB_OFFLINE = True
        yield
    finally:
        for module in modules:
            module.HF_HUB_OFFLINE = False


def is_reachable(url: str, patience_s: float = _PATIENCE_S) -> bool:
    """Whether the server of a URL, or the proxy that the environment names for it, takes a connection in time."""
    address = _address_of(url)
    if address is None:
        return True  # of what cannot be tried, nothing is known
    connected = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection(address, patience_s).close()
            connected.set()
        except OSError:
            pass

    # A name server that does not answer holds a lookup for longer than any timeout of sockets.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(patience_s)
    return connected.is_set()


def _address_of(url: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(url)
        proxies = getproxies()
        proxy = proxies.get(parts.scheme) or proxies.get("all")
        if proxy and not proxy_bypass(parts.hostname or ""):
            parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if parts.scheme not in _PORTS or not parts.hostname:
            return None  # a SOCKS proxy
        return parts.hostname, parts.port or _PORTS[parts.scheme]
    except ValueError:
        return None
