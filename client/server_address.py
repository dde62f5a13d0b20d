"""The server's address as people write it: with or without a scheme, /v1, or the whole path of a request."""

from __future__ import annotations

import re
from argparse import Namespace
from typing import NamedTuple

from tokenswarm.client.host_spread import MOST_HOSTS
from tokenswarm.client.request_control import Endpoint, endpoint_at
from tokenswarm.engines import ENGINES
from tokenswarm.sanitize import is_secret_name
from tokenswarm.wire import Origin, UnusableUrl


def _request_paths() -> list[str]:
    """What an address may end with though requests add it themselves; the longest is cut off first."""
    paths = {"/v1", "/v1/models", "/v1/completions", "/v1/responses"} | {engine.path for engine in ENGINES.values()}
    return sorted(paths, key=len, reverse=True)


#: Routes of OpenAI's protocol that may stand elsewhere than under /v1.
_ROUTES = ("/chat/completions", "/completions", "/responses")
#: Read on as it is, the host would be `http`.
_SCHEME_WITHOUT_SLASHES = re.compile(r"https?:(?!//|\d+(/|$))", re.IGNORECASE)
#: A header, which `-H` is of curl: behind its colon are no port and no slashes.
_HEADER = re.compile(r"(?P<name>[a-z][a-z0-9-]*):(?!//|\s*\d+(/|$))(?P<space>\s*)\S", re.IGNORECASE)
_HTTPS_PORT = re.compile(r"[^/]*:443(/|$)")


#: A version other than that which engines' own paths have: below it, paths are those of OpenAI's without /v1.
_OTHER_VERSION = re.compile(r"/v(?!1$)\d+(alpha|beta)?\d*$")


class ServerAddress(NamedTuple):
    """What --host says. base: scheme, host, port and the prefix of all paths. path: where requests are posted, below
    it; "" for the engine's own. endpoint: the one that the path is of, None where it is that of chat or says none."""

    base: str
    path: str = ""
    endpoint: Endpoint | None = None

    @classmethod
    def of(cls, host: str) -> ServerAddress:
        """Read an address as people write it: without what requests add (http://gpu:8000 for `gpu:8000`,
        `http://gpu:8000/`, `http://gpu:8000/v1` and `http://gpu:8000/v1/chat/completions`), and as the full address of
        a route. Without a scheme it is http, and https for port 443. A prefix before these stays. What is no address
        comes back as it is."""
        url, mark, query = host.strip().partition("?")
        url = url.rstrip("/")
        if _SCHEME_WITHOUT_SLASHES.match(url):
            return cls(host.strip())
        if url and "://" not in url and not url.startswith("/"):
            url = f"{'https' if _HTTPS_PORT.match(url) else 'http'}://{url}"
        scheme, _, rest = url.partition("://")
        authority, _, path = rest.partition("/")
        path = f"/{path}"

        def below(ending: str) -> str:
            return f"{scheme}://{authority}{path.removesuffix(ending).rstrip('/')}"

        endpoint = endpoint_at(path)
        other = endpoint if endpoint is not Endpoint.CHAT else None
        for ending in _request_paths():
            if path.endswith(ending):
                return cls(below(ending), f"{ending}?{query}" if query else "", other)
        for ending in _ROUTES:
            if path.endswith(ending):
                return cls(below(ending), f"{ending}{mark}{query}", other)
        if _OTHER_VERSION.search(path) and not query:
            return cls(url, _ROUTES[0])
        return cls(f"{url}{mark}{query}")


def hosts_of(host: str) -> list[str]:
    """The addresses of --host, with commas between. A comma in the query of an address stays in it, unless a scheme
    follows."""
    found: list[str] = []
    for word in map(str.strip, host.split(",")):
        if found and "?" in found[-1] and "://" not in word:
            found[-1] += f",{word}"
        elif word:
            found.append(word)
    return found


def base_url(host: str) -> str:
    """--host without what requests add, and without the route that it may name; several with commas between."""
    return ",".join(ServerAddress.of(each).base for each in hosts_of(host))


def take_route(options: Namespace, host: str) -> None:
    """Set the options for a route that --host names, where they do not name one themselves. Raises UnusableUrl where
    several addresses name different ones."""
    routes = dict.fromkeys(ServerAddress.of(each)[1:] for each in hosts_of(host))
    if len(routes) > 1:
        raise UnusableUrl(
            "--host: all addresses of a run need the same route behind host and port, got "
            f"{' and '.join(path or 'none' for path, _ in routes)}."
        )
    if options.path or not routes:
        return
    address = ServerAddress.of(hosts_of(host)[0])
    options.path = address.path
    if address.endpoint is not None:
        options.endpoint = address.endpoint.value


def origins_of(host: str) -> list[Origin]:
    """The addresses of --host, each once. Raises UnusableUrl."""
    found = [origin_of(each) for each in hosts_of(host)]
    if len(found) > MOST_HOSTS:
        raise UnusableUrl(f"--host takes {MOST_HOSTS} addresses at most, got {len(found)}.")
    for origin in found:
        if found.count(origin) > 1:
            raise UnusableUrl(f"--host names {origin.root} more than once.")
    return found


def origin_of(host: str) -> Origin:
    """One address of --host. Raises UnusableUrl."""
    if _SCHEME_WITHOUT_SLASHES.match(host.strip()):
        got = "" if "@" in host else f", got {host.strip()!r}"  # there may be a password before it
        raise UnusableUrl(f"--host takes an address like http://HOST:PORT{got}.")
    if (header := _HEADER.match(host.strip())) and (header["space"] or is_secret_name(header["name"])):
        raise UnusableUrl(
            f"--host (-H) takes the server's address, got the header {header['name']} (its value is not repeated "
            f"here): give it with --header '{header['name']}: VALUE'."
        )
    return Origin.parse(base_url(host))
