"""Who gets the metrics: Prometheus and whoever opens them, but no web page of another origin."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from tokenswarm.recording.prometheus import LiveRun, serve

LOCAL = {"Host": "localhost:9646"}


def status(port: int, headers: dict[str, str]) -> int:
    try:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers=headers)
        return int(urllib.request.urlopen(request, timeout=10).status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize(
    ("bound_to", "headers", "expected"),
    [
        ("127.0.0.1", LOCAL, 200),
        ("127.0.0.1", {"Host": "[::1]:9646"}, 200),
        ("127.0.0.1", LOCAL | {"Sec-Fetch-Site": "none"}, 200),
        ("127.0.0.1", LOCAL | {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}, 200),
        ("127.0.0.1", LOCAL | {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "empty"}, 403),
        ("127.0.0.1", LOCAL | {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Dest": "iframe"}, 403),
        ("127.0.0.1", LOCAL | {"Origin": "http://evil.example"}, 403),
        ("127.0.0.1", {"Host": "evil.example:9646"}, 403),
        ("127.0.0.1", {"Host": "evil.example", "Sec-Fetch-Site": "same-origin"}, 403),
        ("0.0.0.0", {"Host": "master:9646"}, 200),
        ("0.0.0.0", {"Host": "master:9646", "Origin": "http://evil.example"}, 403),
    ],
)
def test_who_gets_the_metrics(bound_to: str, headers: dict[str, str], expected: int) -> None:
    server = serve(LiveRun(), bound_to, 0)
    try:
        assert status(server.server_port, headers) == expected
    finally:
        server.stop()
