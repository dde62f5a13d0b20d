"""Which requests come from the page itself or from no browser, and which from another web page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tokenswarm.web.origins import AllowedOrigins, WebRequest, allowed_names, is_loopback_bind

TOKEN = "of this process"
OURS = "localhost:8089"
LOCAL = AllowedOrigins(frozenset({"load.example.com"}), False, {"/", "/login"}.__contains__, TOKEN)
FETCH = WebRequest(
    "POST",
    "/swarm",
    OURS,
    origin=f"http://{OURS}",
    fetch_site="same-origin",
    fetch_mode="cors",
    fetch_dest="empty",
    has_cookies=True,
    page_token=TOKEN,
)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"host": "127.0.0.1:8089", "origin": "http://127.0.0.1:8089"},
        {"host": "[::1]:8089", "origin": "http://[::1]:8089"},
        {"host": "LOCALHOST.:8089", "origin": "http://localhost:8089", "fetch_site": ""},
        {"fetch_site": ""},  # a browser on plain HTTP sends only Origin
        {"host": "load.example.com", "origin": "https://load.example.com", "fetch_site": ""},  # a proxy that speaks TLS
        {"host": "load.example.com", "origin": "https://load.example.com:443", "fetch_site": ""},
        {"method": "GET", "origin": "", "page_token": ""},
        {"origin": "", "fetch_site": "", "fetch_mode": "", "has_cookies": False, "page_token": ""},  # curl
    ],
)
def test_the_page_itself_and_programs_are_answered(changes: dict[str, str]) -> None:
    assert LOCAL.refusal(replace(FETCH, **changes)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://localhost:9999"},
        {"origin": "https://localhost:8089.evil.example"},
        {"origin": "http://localhost:8089@evil.example"},
        {"origin": "null"},
        {"origin": "file://"},
        {"origin": "http://localhost"},
    ],
)
def test_an_origin_that_is_not_the_pages_own_is_refused_without_further_headers(changes: dict[str, str]) -> None:
    for method in ("POST", "GET", "OPTIONS", "PUT", "DELETE"):
        assert LOCAL.refusal(replace(FETCH, method=method, fetch_site="", **changes))


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything else"])
def test_what_the_browser_says_comes_from_elsewhere_is_refused_whatever_the_origin(site: str) -> None:
    for method in ("POST", "GET"):
        assert LOCAL.refusal(replace(FETCH, method=method, fetch_site=site))
        assert LOCAL.refusal(replace(FETCH, method=method, fetch_site=site, origin=""))


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8089", "localhost.evil.example", "", "localhost:8089, evil.example", "localhost/",
     "192.168.1.7:8089", "0.0.0.0:8089", "a@localhost", "localhost:8089:1", "[::1", "127.0.0.1.nip.io"],
)  # fmt: skip
def test_a_name_that_is_not_the_pages_own_is_refused_though_the_browser_takes_it_for_the_same_origin(host: str) -> None:
    rebound = replace(FETCH, host=host, origin=f"http://{host}")
    assert LOCAL.refusal(rebound)
    assert LOCAL.refusal(replace(rebound, method="GET", origin="", fetch_site="none"))


def test_a_link_of_another_site_opens_a_page_but_no_data_and_no_frame() -> None:
    link = replace(
        FETCH, method="GET", origin="", fetch_site="cross-site", fetch_mode="navigate", fetch_dest="document"
    )
    assert LOCAL.refusal(replace(link, path="/")) is None
    assert LOCAL.refusal(replace(link, path="/stats/requests/csv"))
    assert LOCAL.refusal(replace(link, path="/", fetch_dest="iframe"))
    assert LOCAL.refusal(replace(link, path="/", method="POST"))


@pytest.mark.parametrize("changes", [{"page_token": ""}, {"page_token": "of the process before"}, {"page_token": "é"}])
def test_a_change_from_a_browser_needs_the_cookie_of_the_page(changes: dict[str, str]) -> None:
    assert LOCAL.refusal(replace(FETCH, **changes))
    assert LOCAL.refusal(replace(FETCH, origin="", fetch_site="", referer="http://localhost:8089/", **changes))
    quiet = replace(FETCH, origin="", fetch_site="", has_cookies=False, **changes)
    assert LOCAL.refusal(replace(quiet, user_agent="Mozilla/5.0 (X11)"))
    assert LOCAL.refusal(replace(quiet, user_agent="curl/8.5")) is None


@pytest.mark.parametrize(
    ("bound", "is_local"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("127.8.0.1", True), ("*", False), ("", False),
     ("0.0.0.0", False), ("::", False), ("10.0.0.4", False), ("loadhost", False)],
)  # fmt: skip
def test_where_a_page_can_be_reached(bound: str, is_local: bool) -> None:
    assert is_loopback_bind(bound) is is_local


def test_names_of_a_page_that_other_machines_reach() -> None:
    open_page = AllowedOrigins(*allowed_names("0.0.0.0", ["load.example.com"], "LoadHost"), {"/"}.__contains__, TOKEN)
    for host in ("loadhost:8089", "load.example.com", "10.0.0.4:8089", "[fd00::1]:8089", "localhost"):
        assert open_page.refusal(replace(FETCH, host=host, origin=f"http://{host}")) is None, host
    assert open_page.refusal(replace(FETCH, host="evil.example", origin="http://evil.example"))
    named = AllowedOrigins(*allowed_names("loadhost.lan", [], "other"), {"/"}.__contains__, TOKEN)
    assert named.refusal(replace(FETCH, host="loadhost.lan", origin="http://loadhost.lan")) is None
    assert named.refusal(replace(FETCH, host="other", origin="http://other"))
