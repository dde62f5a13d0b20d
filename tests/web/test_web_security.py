"""Locust's application and ours, route by route: who is answered, with which headers, and what a start may hold."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.web.conftest import HOST, MakeSite, Site
from tokenswarm.web.web_options import PASSWORD_VARIABLE

pytestmark = pytest.mark.slow

PASSWORD = "correct horse battery"
#: Every route, Locust's and ours. A new one of Locust's is to be looked at: does a GET change anything, is it guarded?
CHANGES = {("POST", path) for path in ("/swarm", "/stop", "/stats/reset", "/user")}
READS = {
    ("GET", path)
    for path in (
        "/",
        "/login",
        "/assets/<path:path>",
        "/exceptions",
        "/exceptions/csv",
        "/logs",
        "/stats/failures/csv",
        "/stats/report",
        "/stats/requests",
        "/stats/requests/csv",
        "/stats/requests_full_history/csv",
        "/tasks",
        "/worker-count",
        "/tokenswarm/",
        "/tokenswarm/assets/<name>",
        "/tokenswarm/compare",
        "/tokenswarm/form.json",
        "/tokenswarm/live.json",
        "/tokenswarm/plan.json",
        "/tokenswarm/presets.json",
        "/tokenswarm/runs.json",
        "/tokenswarm/runs/<run>/<path:name>",
        "/tokenswarm/trend",
    )
}
FLASKS_OWN = {("GET", "/assets//<path:filename>"), ("GET", "/static/<path:filename>")}
FOREIGN = [
    {"Origin": "http://evil.example"},
    {"Origin": "http://localhost:9"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
    {"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"},
    {"Host": "evil.example"},
]
START = {"user_count": "1", "spawn_rate": "1"}


def path_of(rule: str) -> str:
    return rule.replace("<path:path>", "x.js").replace("<path:name>", "run.json").replace("<", "").replace(">", "")


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    return make_site()


def test_these_are_all_the_routes(site: Site) -> None:
    assert site.rules() - FLASKS_OWN == CHANGES | READS


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_another_web_page_is_answered_by_no_route(site: Site, headers: dict[str, str]) -> None:
    client = site.client()
    assert client.get("/").status_code == 200  # the browser has the page's cookie
    for method, rule in CHANGES | READS | {("GET", "/not/there"), ("OPTIONS", "/swarm")}:
        answer = client.open(path_of(rule), method=method, headers=headers, data=START if method == "POST" else None)
        assert answer.status_code == 403, (method, rule)
        assert not [name for name, _ in answer.headers if name.lower().startswith("access-control")]
    assert not site.started
    assert site.environment.runner is not None
    assert site.environment.runner.state == "ready"


def test_every_response_has_the_headers_and_none_for_other_origins(site: Site) -> None:
    client = site.client()
    for method, rule in CHANGES | READS | {("GET", "/not/there"), ("OPTIONS", "/swarm"), ("PUT", "/swarm")}:
        answer = client.open(path_of(rule), method=method, data=START if rule == "/swarm" else None)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert "Cache-Control" in answer.headers
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        policy = answer.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy
        assert "default-src" in policy
        assert ("'unsafe-inline'" in policy.partition("script-src")[2].partition(";")[0]) is (rule == "/stats/report")
        assert not [name for name, _ in answer.headers if name.lower().startswith("access-control")]


def test_a_browser_starts_with_the_pages_cookie_and_a_program_without(site: Site) -> None:
    headers = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin", "User-Agent": "Mozilla/5.0"}
    client = site.client()
    assert client.post("/swarm", data=START, headers=headers).status_code == 403
    cookie = client.get("/", headers={"Sec-Fetch-Site": "none"}).headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Secure" not in cookie
    assert "; Secure" in site.client().get("/", base_url="https://localhost").headers["Set-Cookie"]
    assert client.post("/swarm", data=START, headers=headers).json["success"]
    assert site.client().post("/stop").json["success"]
    assert site.client().post("/swarm", data=START).json["success"]
    assert [host for _, host in site.started] == [HOST, HOST]


def test_a_sender_of_refused_requests_does_not_fill_the_log(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now_s = [1_000.0]
    monkeypatch.setattr("tokenswarm.web.security.time.monotonic", lambda: now_s[0])
    for _ in range(5):
        site.client().post("/stop", headers={"Host": "evil.example"})
    now_s[0] += 10
    site.client().post("/stop", headers={"Host": "evil.example"})
    first, second = [line for line in caplog.messages if "Refused a web request" in line]
    assert "others" not in first
    assert "(and 4 others since the last such message)" in second


def test_links_of_other_sites_open_pages_and_routes_of_other_locustfiles_but_no_data(site: Site) -> None:
    assert site.ui.app is not None
    site.ui.app.add_url_rule("/back-from-another-login", view_func=lambda: "welcome")
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    for path in ("/", "/tokenswarm/", "/back-from-another-login"):
        assert site.client().get(path, headers=link).status_code == 200
        assert site.client().get(path, headers=link | {"Sec-Fetch-Dest": "iframe"}).status_code == 403
    report = "/tokenswarm/runs/20240605-140300-vllm/report.html"
    assert site.client().get(report, headers=link).status_code == 404  # there is none, and it may be looked for
    assert site.client().get(report, headers=link | {"Sec-Fetch-Dest": "iframe"}).status_code == 403
    for _, rule in READS - {("GET", path) for path in ("/", "/login", "/tokenswarm/")}:
        assert site.client().get(path_of(rule), headers=link).status_code == 403, rule


def test_a_proxy_that_changes_the_host_is_named_in_the_refusal(site: Site) -> None:
    client = site.client()
    client.get("/")
    answer = client.post("/stop", headers={"Origin": "http://load.example.com"})
    assert answer.status_code == 403
    assert "'load.example.com:80'" in answer.json["message"]
    assert "load.example.com" not in client.post("/stop", headers={"Sec-Fetch-Site": "cross-site"}).json["message"]


def test_a_start_while_another_is_checked_changes_no_option_of_it(site: Site) -> None:
    answers = []
    site.meanwhile = lambda: answers.append(
        site.client().post("/swarm", data=START | {"shape": "ladder", "levels": "7"}).json
    )
    assert site.client().post("/swarm", data=START | {"shape": "ladder", "levels": "3"}).json["success"]
    assert [answer["success"] for answer in answers] == [False]
    assert site.environment.parsed_options is not None
    assert site.environment.parsed_options.levels == "3"


def test_a_script_that_gives_fields_of_two_shapes_is_refused_whatever_ran_before(site: Site) -> None:
    client = site.client()
    client.post("/swarm", data={"levels": "2"})
    for levels in ("2", "3"):
        answer = client.post("/swarm", data={"levels": levels, "user_count": "5"}).json
        assert len(answer["errors"]) == 1
        assert all(label in answer["message"] for label in ("“Users”", "“Levels”"))
    client.post("/swarm", data={"user_count": "5"})
    client.post("/swarm", data={"levels": "2"})
    assert [options.shape for options, _ in site.started] == ["ladder", "free", "ladder"]


def test_only_a_post_starts_anything(site: Site) -> None:
    for method in ("OPTIONS", "GET", "HEAD", "PUT", "DELETE", "PATCH"):
        site.client().open("/swarm", method=method, data=START)
    assert not site.started


@pytest.mark.parametrize(
    "form",
    [
        {"markdown": "/somewhere/x.md"},
        {"junit": "/somewhere/x.xml"},
        {"results": "/"},
        {"tls_insecure": "true"},
        {"html_file": "/somewhere/x.html"},
        {"web_login": "false"},
        {"user_classes": "Idle"},
        {"shape_class": "Default"},
        {"host": "http://evil.example"},
        {"system_prompt_file": "/etc/passwd"},
        {"server_metrics": "http://169.254.169.254/"},
    ],
)
def test_a_rejected_start_changes_nothing(site: Site, form: dict[str, str]) -> None:
    options = dict(vars(site.environment.parsed_options))
    assert not site.client().post("/swarm", data=START | form).json["success"]
    assert not site.started
    assert vars(site.environment.parsed_options) == options
    assert site.environment.host == HOST


def errors_of(site: Site, **form: str) -> dict[str, str]:
    """What a start is refused for, by field."""
    answer = site.client().post("/swarm", data=START | form)
    assert answer.status_code == 200  # of another status, Locust's own form does not show the message
    assert not answer.json["success"]
    return {error["field"]: error["text"] for error in answer.json["errors"]}


def test_all_errors_of_a_form_are_answered_by_field_and_nothing_is_sent(site: Site) -> None:
    wrong = {
        "max_tokens": "many",
        "run_time": "soon",
        "host": "http://evil.example",
        "user_count": "x",
        "prompts": "/x",
    }
    found = errors_of(site, shape="free", **wrong)
    assert found.keys() == wrong.keys()
    assert "“Max tokens”" in found["max_tokens"]
    assert site.checked  # the other options were checked
    assert (site.checked[0].max_tokens, site.checked[0].prompts) == (512, "sample")
    assert not site.started


@pytest.mark.parametrize(
    ("name", "near"),
    [("levls", "levels"), ("level-time", "level_time"), ("users", "user_count"), ("num_users", "user_count")],
)
def test_an_option_that_does_not_exist_gets_the_nearest_one(site: Site, name: str, near: str) -> None:
    (text,) = errors_of(site, **{name: "2"}).values()
    assert f"did you mean {near}?" in text
    assert "command line" not in text


def test_an_option_that_exists_and_one_like_none_get_no_other(site: Site) -> None:
    (known,) = errors_of(site, markdown="x").values()
    (unknown,) = errors_of(site, zzz="x").values()
    assert "did you mean" not in known + unknown
    assert "command line" in known
    assert "command line" not in unknown


def test_what_locusts_own_form_sends_is_taken(make_site: MakeSite) -> None:
    (folder := Path("allowed")).mkdir()
    (folder / "prompt.txt").write_text("Be brief.")
    site = make_site("--web-allow-folder", str(folder), "--web-allow-target", "http://other.example:1")
    shown = site.client().get("/tokenswarm/form.json").json
    form = {field["name"]: str(field["value"]).lower() for group in shown for field in group["fields"]}
    form |= {"profile": "", "host": "http://other.example:1", "system_prompt_file": "allowed/prompt.txt"}
    assert "results" not in form
    assert site.client().post("/swarm", data=form).json["success"]
    ((options, host),) = site.started
    assert (host, options.system_prompt_file) == ("http://other.example:1", "allowed/prompt.txt")


def test_user_classes_are_changed_only_with_the_picker_and_within_its_fields(make_site: MakeSite) -> None:
    client = make_site().client()
    assert client.post("/user", json={"user_class_name": "Idle", "weight": 2}).status_code == 403
    client = make_site(picks_classes=True).client()
    for settings in ({"wait_time": 0}, {"__init__": 0}, {"host": "http://evil.example"}, {"user_class_name": "Else"}):
        assert client.post("/user", json={"user_class_name": "Idle"} | settings).status_code == 403
    assert client.post("/user", data="[").status_code == 403
    assert client.post("/user", json={"user_class_name": "Idle", "weight": 2, "host": HOST}).status_code == 201


def test_locusts_report_repeats_no_markup_of_its_address(site: Site) -> None:
    answer = site.client().get("/stats/report", query_string={"theme": '"</script><script>alert(1)</script>'})
    assert answer.status_code == 400
    assert b"alert(1)" not in answer.data
    assert site.client().get("/stats/report?theme=dark").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "run/%2e%2e/%2e%2e/secret.txt",
        "run/..%2f..%2fsecret.txt",
        "%2e%2e/secret.txt",
        "run/link.txt",
        "away/run.json",
        "run/%00",
        "%00/run.json",
        "run/" + "x" * 300,
        "x" * 300 + "/run.json",
        "run//etc/passwd",
        "run/loop",
    ],
)
def test_no_file_outside_of_a_run_is_served(site: Site, path: str) -> None:
    run = site.folder / "results" / "run"
    run.mkdir(parents=True)
    (run / "run.json").write_text("{}")
    (site.folder / "secret.txt").write_text("secret")
    (site.folder / "elsewhere").mkdir()
    (site.folder / "elsewhere" / "run.json").write_text('{"secret": 1}')
    (run / "link.txt").symlink_to(site.folder / "secret.txt")
    (run / "loop").symlink_to(run / "loop")
    (run.parent / "away").symlink_to(site.folder / "elsewhere")
    assert site.client().get("/tokenswarm/runs/run/run.json").status_code == 200
    answer = site.client().get(f"/tokenswarm/runs/{path}", follow_redirects=True)
    assert answer.status_code == 404
    assert b"secret" not in answer.data.replace(b"secret.txt", b"")


def test_a_file_of_a_run_brings_no_script(site: Site) -> None:
    run = site.folder / "results" / "run"
    run.mkdir(parents=True)
    (run / "run.json").write_text("{}")
    (run / "report.html").write_text("<script>alert(1)</script>")
    policy = site.client().get("/tokenswarm/runs/run/report.html").headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy


# The login.


@pytest.fixture
def guarded(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    # `make_site` has taken the variable away, for the other tests.
    return make_site("--web-login", "--web-base-path", "/under")


def log_in(client: FlaskClient, password: str = PASSWORD, **more: str) -> Any:
    return client.post("/under/tokenswarm/login", data={"username": "tokenswarm", "password": password} | more)


def basic(password: str, user: str = "tokenswarm") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_without_a_login_no_route_says_anything(guarded: Site) -> None:
    client = guarded.client()
    public = {"/under/login", "/under/assets/<path:path>", "/under/tokenswarm/login", "/under/tokenswarm/login/<name>"}
    for method, rule in guarded.rules():
        if rule in public:
            continue
        assert client.open(path_of(rule), method=method, data=START).status_code == 401, (method, rule)
        page = client.open(path_of(rule), method=method, data=START, headers={"Accept": "text/html"})
        assert page.status_code == (303 if method == "GET" else 401)
    assert client.get("/under/not/there").status_code == 401
    assert not guarded.started


def test_the_form_logs_in_and_out(guarded: Site) -> None:
    client = guarded.client()
    assert client.get("/under/login").status_code == 200
    assert client.get("/under/tokenswarm/login/page.css").status_code == 200
    assert client.get("/under/tokenswarm/login/page.js").status_code == 404
    assert log_in(client, "wrong").status_code == 401
    assert client.get("/under/stats/requests").status_code == 401
    answer = log_in(client, next="tokens")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/under/tokenswarm/")
    (cookie,) = [value for value in answer.headers.getlist("Set-Cookie") if "session" in value]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=Strict", "Path=/under"))
    assert client.get("/under/stats/requests").status_code == 200
    assert client.post("/under/swarm", data=START).json["success"]
    stolen = client.get_cookie(cookie.partition("=")[0], path="/under")
    assert stolen is not None
    assert client.post("/under/tokenswarm/logout").headers["Location"] == "/under/login"
    assert client.get("/under/stats/requests").status_code == 401
    client.set_cookie(stolen.key, stolen.value, path="/under")
    assert client.get("/under/stats/requests").status_code == 401


def test_a_login_form_of_any_size_is_not_read(guarded: Site) -> None:
    assert log_in(guarded.client(), "x" * 20_000).status_code == 413


def test_a_login_leads_to_pages_of_its_own_only(guarded: Site) -> None:
    for after in ("https://evil.example", "//evil.example", "\\evil", "../x"):
        assert log_in(guarded.client(), next=after).headers["Location"] == "/under/"


def test_the_form_repeats_no_markup(guarded: Site) -> None:
    form = {"username": '"><script>alert(1)</script>', "password": "wrong", "next": '"><b>'}
    answer = guarded.client().post("/under/tokenswarm/login", data=form)
    assert answer.status_code == 401
    assert b"<script>alert" not in answer.data
    assert b"<b>" not in answer.data


def test_another_page_cannot_log_anybody_in(guarded: Site) -> None:
    headers = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
    data = {"username": "tokenswarm", "password": PASSWORD}
    assert guarded.client().post("/under/tokenswarm/login", data=data, headers=headers).status_code == 403


def test_a_program_brings_the_password_with_each_request(guarded: Site) -> None:
    client = guarded.client()
    assert client.get("/under/stats/requests", headers=basic(PASSWORD)).status_code == 200
    assert client.get("/under/stats/requests", headers=basic("wrong")).status_code == 401
    assert client.get("/under/stats/requests", headers=basic(PASSWORD, "else")).status_code == 401
    assert client.get("/under/stats/requests", headers={"Authorization": "Basic !"}).status_code == 401
    assert client.get("/under/stats/requests").status_code == 401


@pytest.mark.parametrize("by_form", [True, False])
def test_after_wrong_passwords_not_even_the_right_one_is_taken_for_a_while(guarded: Site, by_form: bool) -> None:
    client = guarded.client()
    for _ in range(5):
        if by_form:
            assert log_in(client, "wrong").status_code == 401
        else:
            assert client.get("/under/stats/requests", headers=basic("wrong")).status_code in (401, 429)
    answer = log_in(client)
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert client.get("/under/stats/requests", headers=basic(PASSWORD)).status_code == 429


def test_the_password_is_in_no_option_and_no_page(guarded: Site) -> None:
    client = guarded.client()
    log_in(client)
    assert PASSWORD not in json.dumps(vars(guarded.environment.parsed_options), default=str)
    for _, rule in guarded.rules() - CHANGES:
        assert PASSWORD.encode() not in client.get(path_of(rule)).data


def test_a_login_of_another_locustfile_replaces_the_embedded_one(guarded: Site) -> None:
    guarded.ui.login_manager.user_loader(lambda _: None)
    client = guarded.client()
    assert log_in(client).status_code == 404
    assert client.get("/under/stats/requests", headers=basic(PASSWORD)).status_code == 302
    assert client.get("/under/stats/requests").headers["Location"].startswith("/under/login")
    assert client.post("/under/swarm", data=START).status_code == 302
    assert not guarded.started
