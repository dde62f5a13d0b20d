"""What stands below the table of the server's own metrics."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import urlsplit

from tokenswarm.recording.scrape_guard import is_local
from tokenswarm.run_folder.reader import Results

_AVERAGES = (
    "All but the last two columns are the server's own metrics, averages over each level's hold. Prefix hits: the "
    "share of prompt tokens that the server found in its prefix cache. Client: the mean TTFT measured here. Outside "
    "server: that minus the server's."
)
_DASH = (
    "A dash in the last column: the server reports no TTFT, or its mean is larger than the client's. That "
    "happens because the two do not cover exactly the same requests."
)
_FRONT_END = (
    "of the server's front end before and after the server measures. Where a level is suspect for late reads, the time "
    "by which its first tokens were read late is in it too"
)


def server_note(results: Results) -> str:
    """What the columns mean, and where the time outside of the server is spent on the way to this host."""
    if _is_on_loopback(results.summary.host or ""):
        way = (
            "The host is a loopback address: this is time of the connection on this machine (or of a tunnel behind it)"
        )
    else:
        gateway = (
            f", of the gateway ({results.run.gateway})" if results.run.gateway else ", of a gateway if there is one,"
        )
        way = f"This is time of the network{gateway}"
    return f"{_AVERAGES} {way} and {_FRONT_END}. {_DASH}"


def _is_on_loopback(hosts: str) -> bool:
    """Whether all addresses of a run, separated by commas, are this machine's loopback."""
    with suppress(ValueError):  # an address that cannot be read
        names = [urlsplit(host.strip()).hostname for host in hosts.split(",")]
        return all(name is not None and is_local(name) for name in names)
    return False
