"""Our page as a person uses it: a real browser, Locust in a process of its own, the simulator as its server."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from page.runs import LINKED
from tests.runs.harness import ROOT, Start, Started, free_port, read_csv, until

pytestmark = pytest.mark.slow

PATIENCE_MS = 60_000
#: A name that leads to this machine: as an attacker's does once it has been rebound.
EVIL = "evil.example"
LADDER = {"levels": "2,3", "ramp": "1s", "level_time": "4s", "max_tokens": "16", "system_prompt": "off", "settle": "0s"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None and "CI" not in os.environ:
        pytest.skip("there is no chromium here; CI installs it")
    with sync_playwright() as playwright:
        rebound = f"--host-resolver-rules=MAP {EVIL} 127.0.0.1"
        alone = "--disable-features=LocalNetworkAccessChecks"  # what other browsers do not have must not be needed
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", rebound, alone])
        yield launched
        launched.close()


class Watched:
    """A page of the browser's, and what it should not do."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.wrong: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda said: self.wrong.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith((origin, "blob:", "data:")) else self._out(asked))

    def _out(self, asked: Any) -> None:
        self.wrong.append(f"asked {asked.url}")


def served(start_locust: Start, *arguments: str, base_path: str = "", **how: Any) -> tuple[Started, str]:
    """Locust with its web page, and the page's address."""
    port = free_port()
    started = start_locust("--web-host", "127.0.0.1", "--web-port", str(port), *arguments, **how)
    url = f"http://127.0.0.1:{port}{base_path}"
    until(lambda: _status(f"{url}/login") != 0)
    return started, url


def _status(url: str, data: bytes | None = None) -> int:
    """Of the answer itself: a redirect is not followed. 0 where none comes."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    try:
        return int(urllib.request.build_opener(Stay).open(url, data=data, timeout=10).status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def fill(page: Page, **values: str) -> None:
    """Into the form of a new run."""
    for name, value in values.items():
        field = page.locator(f"#option-{name}")
        if not field.is_visible():
            page.locator("details.folded > summary").click()
        if field.evaluate("it => it.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)


def drawn(page: Page) -> int:
    """How many points the chart library has drawn of the first chart's line."""
    line = "Bokeh.documents.at(-1).roots()[0].renderers.find(it => it.glyph.type === 'Line')"
    return int(page.evaluate(f"Bokeh.index.find_one({line}).glyph.data_size"))


def begin(page: Page, **values: str) -> None:
    fill(page, **values)
    page.click("#begin")


def refused(page: Page, **values: str) -> str:
    """What the page says of a start with these."""
    page.evaluate("document.getElementById('complaint').hidden = true")
    begin(page, **values)
    expect(page.locator("#complaint")).to_be_visible(timeout=PATIENCE_MS)
    return page.inner_text("#complaint")


@pytest.mark.parametrize("options", [(), ("--processes", "2")], ids=["alone", "workers"])
def test_runs_from_the_page(start_locust: Start, browser: Browser, options: tuple[str, ...]) -> None:
    started, url = served(start_locust, *options)
    watched = Watched(browser.new_page(), url)
    page = watched.page
    page.goto(url)
    expect(page.locator("#tokenswarm-plan")).to_contain_text("10,50,100", timeout=PATIENCE_MS)
    page.click("#tokenswarm-link")
    expect(page.locator("#state")).to_have_text("ready", timeout=PATIENCE_MS)

    # What cannot be is said where it was asked for, the field is pointed at, and the next start works.
    assert "--levels takes numbers of users like 10,50,100, got 'ten'." in refused(page, **{**LADDER, "levels": "ten"})
    assert page.get_attribute("#option-levels", "aria-invalid") == "true"
    assert page.evaluate("document.activeElement.id") == "option-levels"
    assert "missing.jsonl" in refused(page, levels="2,3", prompts="missing.jsonl")
    assert "whole number" in refused(page, prompts="sample", max_tokens="many")
    simulator = page.input_value("#option-host")
    dead = f"http://127.0.0.1:{free_port()}"
    assert "cannot be reached" in refused(page, max_tokens="16", host=dead)
    assert not list(started.results.glob("*/run.json"))
    begin(page, host=simulator, level_time="8s")

    # The run shows itself: its levels, and figures that move.
    expect(page.locator("#where")).to_contain_text("Level 1 of 2: 2 users without system prompt", timeout=PATIENCE_MS)
    assert not page.is_visible("#complaint")
    requests = page.locator("#tiles > div", has_text="Requests").locator("dd")
    expect(requests).not_to_have_text("0", timeout=PATIENCE_MS)
    expect(page.locator(".charts canvas").first).to_be_visible()
    until(lambda: drawn(page) >= 1)
    at_first = drawn(page)
    again = page.request.post(f"{url}/swarm", form={"user_count": "1", "spawn_rate": "1"})
    assert again.json()["message"] == "A run goes on: stop it first."
    until(lambda: drawn(page) > at_first)  # the chart's line grows while the page is open
    expect(page.locator("#where")).to_contain_text("Level 2 of 2: 3 users", timeout=PATIENCE_MS)
    expect(page.locator("#levels tr.on th")).to_have_text("3", timeout=PATIENCE_MS)
    page.click("#stop")
    expect(page.locator("#run-heading")).to_have_text("Last run (interrupted)", timeout=PATIENCE_MS)
    bars = [float(bar.evaluate("it => it.style.getPropertyValue('--done')")) for bar in page.locator("#plan i").all()]
    assert bars[0] == 1.0 > bars[1]  # the level that was stopped did not get to its end
    tile = page.locator("#tiles > div", has_text="Tokens/s").locator("dd")
    assert float(tile.inner_text().replace(",", "")) > 0  # of the last level that has figures, not of its empty end

    # What was chosen stays chosen: not what the last run found.
    expect(page.locator("#option-levels")).to_have_value("2,3")
    assert page.input_value("#option-engine") == "auto"
    assert page.input_value("#option-model") == ""
    begin(page, shape="free", user_count="1", spawn_rate="5", run_time="3s", fail_if="p50(ttft) > 1us")
    expect(page.locator("#where")).to_contain_text("Level 1 of 1: 1 users", timeout=PATIENCE_MS)
    expect(page.locator("#run-heading")).to_have_text("Last run (finished)", timeout=PATIENCE_MS)
    expect(page.locator("#conditions li")).to_contain_text("fail if p50(ttft) > 1us")
    expect(page.locator("#conditions .pill")).to_have_text("fail")
    expect(page.locator("#past tbody tr")).to_have_count(2)
    page.locator("#points > summary").click()
    expect(page.locator("#points tbody tr").first).to_be_visible()

    folders = sorted(started.results.iterdir(), reverse=True)
    assert [row.inner_text() for row in page.locator("#past tbody th").all()] == [folder.name for folder in folders]
    assert_downloads(page, folders)
    assert_compared(page)
    assert_level_shown(page, json.loads((folders[0] / "summary.json").read_text()))
    assert_locusts_own_page(page, url, folders[0])
    assert not watched.wrong
    started.process.terminate()
    assert "Traceback" not in started.end().output


def assert_downloads(page: Page, folders: list[Path]) -> None:
    """Each file of each run comes as it lies in its folder, and they tell the same story."""
    for row, folder in zip(page.locator("#past tbody tr").all(), folders):
        links = {link.inner_text(): link for link in row.locator("a").all()}
        assert links.keys() == set(LINKED)
        got = {}
        for name, link in links.items():
            answer = page.request.get(link.evaluate("it => it.href"))
            assert answer.body() == (folder / name).read_bytes()
            got[name] = answer.text()
        summary = json.loads(got["summary.json"])
        assert len(list(csv.DictReader(io.StringIO(got["requests.csv"])))) == summary["books"]["rows"] > 0
        rates = [row["token_rate"] for row in csv.DictReader(io.StringIO(got["summary.csv"])) if row["part"] == "hold"]
        assert [float(rate) if rate else None for rate in rates] == [
            level["hold"]["token_rate"] for level in summary["levels"]
        ]


def assert_compared(page: Page) -> None:
    """Two runs that were asked otherwise are refused with what differs; all the same, they stand side by side."""
    expect(page.locator("#compare")).to_be_disabled()
    for box in page.locator("#past input").all():
        box.check()
    page.click("#compare")
    expect(page.locator("#unlike")).to_contain_text("shape", timeout=PATIENCE_MS)
    page.locator("#unlike button").click()
    expect(page.locator("#comparison")).to_be_visible(timeout=PATIENCE_MS)
    with page.expect_popup() as opened:
        page.click("#comparison")
    comparison = opened.value
    comparison.wait_for_load_state()
    assert comparison.locator("table").count() > 0
    comparison.close()


def assert_level_shown(page: Page, summary: dict[str, Any]) -> None:
    """The page's table of levels says what summary.json does."""
    (level,) = summary["levels"]
    cells = [cell.inner_text() for cell in page.locator("#levels tbody tr").first.locator("th, td").all()]
    assert cells[0] == level["level"]
    assert int(cells[3].replace(",", "")) == level["hold"]["requests"]
    assert float(cells[5].replace(",", "")) == pytest.approx(level["hold"]["token_rate"], rel=0.01)
    assert _seconds(cells[6]) == pytest.approx(level["hold"]["ttft_s"]["p50"]["value"], rel=0.01)


def _seconds(shown: str) -> float:
    number, unit = shown.split()
    return float(number.replace(",", "")) * {"ms": 1e-3, "s": 1.0}[unit]


def assert_locusts_own_page(page: Page, url: str, folder: Path) -> None:
    """Its statistics have rows of ours that its totals do not count; its tab, downloads and report, our figures."""
    rows = read_csv(folder / "requests.csv")
    ok = [row for row in rows if row["outcome"] == "ok"]
    told = page.request.get(f"{url}/stats/requests").json()
    by_name = {row["name"]: row for row in told["stats"]}
    assert by_name["TTFT in ms, system prompt off"]["num_requests"] == len(ok)
    assert by_name["TTFT in ms, system prompt off"]["avg_response_time"] == pytest.approx(
        sum(float(row["ttft_ms"]) for row in ok) / len(ok), rel=0.01
    )
    assert by_name["Aggregated"]["num_requests"] == len([row for row in rows if row["outcome"] != "cut"])
    (ours,) = told["extended_stats"]
    assert ours["data"][0]["name"] == "01: 1 users without system prompt"
    page.goto(f"{url}/?tab=reports")
    link = page.locator("a", has_text="Tokenswarm: requests.csv")
    assert page.request.get(link.evaluate("it => it.href")).body() == (folder / "requests.csv").read_bytes()
    page.goto(f"{url}/stats/report")
    expect(page.locator("#tokenswarm td").first).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator("#root")).to_contain_text("Request Statistics", timeout=PATIENCE_MS)
    assert page.content().count("Tokens, level by level") == 1
    assert str(folder) in page.inner_text("#tokenswarm")


def test_two_workers_are_told_apart(start_locust: Start, browser: Browser) -> None:
    started, url = served(start_locust, "--processes", "2")
    watched = Watched(browser.new_page(viewport={"width": 400, "height": 800}, color_scheme="dark"), url)
    page = watched.page
    page.goto(f"{url}/tokenswarm/")
    begin(page, **LADDER)
    expect(page.locator("#workers tbody tr")).to_have_count(2, timeout=PATIENCE_MS)
    expect(page.locator("#run-heading")).to_have_text("Last run (finished)", timeout=PATIENCE_MS)
    (folder,) = started.results.iterdir()
    summary = json.loads((folder / "summary.json").read_text())
    shown = [int(cell.inner_text()) for cell in page.locator("#workers tbody td:nth-child(2)").all()]
    assert shown == [worker["requests"] for worker in summary["workers"]]
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert not watched.wrong


LOGIN = """
from flask import redirect
from flask_login import UserMixin, login_user
from locust import events

class Somebody(UserMixin):
    id = "somebody"

@events.init.add_listener
def _(environment, **_):
    app = environment.web_ui.app
    app.secret_key = "for a test"
    environment.web_ui.login_manager.user_loader(lambda _: Somebody())

    @app.route("/let-me-in")
    def let_me_in():
        login_user(Somebody())
        return redirect("/under/tokenswarm/")
"""


def test_behind_a_login_and_under_a_path(start_locust: Start, browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "login.py").write_text(LOGIN)
    both = Path(f"{ROOT / 'locustfile.py'},{tmp_path / 'login.py'}")
    arguments = ("--web-login", "--web-base-path", "/under")
    started, url = served(start_locust, *arguments, base_path="/under", locustfile=both)
    began = "latest/requests.csv"
    for path in ("", "live.json", "form.json", "runs.json", f"runs/{began}", "assets/page.js", "lib/1/bokeh.min.js"):
        assert _status(f"{url}/tokenswarm/{path}") in (302, 401), path
    assert _status(f"{url}/swarm", b"levels=ten&prompts=/etc/passwd") in (302, 401)
    watched = Watched(browser.new_page(), url.removesuffix("/under"))
    watched.page.goto(f"{url.removesuffix('/under')}/let-me-in")
    begin(watched.page, **{**LADDER, "levels": "1"})
    expect(watched.page.locator("#run-heading")).to_have_text("Last run (finished)", timeout=PATIENCE_MS)
    watched.page.goto(f"{url}/")
    watched.page.click("#tokenswarm-link")
    expect(watched.page.locator("#past tbody tr")).to_have_count(1)
    assert not watched.wrong
    started.process.terminate()
    assert "Traceback" not in started.end().output


ATTACK = """
async ({ target, form }) => {
  const body = new URLSearchParams(form);
  const attempts = {
    swarm: () => fetch(`${target}/swarm`, { method: "POST", body }),
    stop: () => fetch(`${target}/stop`, { method: "POST" }),
    reset: () => fetch(`${target}/stats/reset`, { method: "POST" }),
    login: () => fetch(`${target}/tokenswarm/login`, { method: "POST", body: "username=tokenswarm" }),
    user: () => fetch(`${target}/user`, { method: "POST", body: "{}", headers: { "Content-Type": "text/plain" } }),
    index: () => fetch(`${target}/`, { credentials: "include" }),
    stats: () => fetch(`${target}/stats/requests`, { credentials: "include" }),
    logs: () => fetch(`${target}/logs`),
    options: () => fetch(`${target}/tokenswarm/form.json`, { credentials: "include" }),
    runs: () => fetch(`${target}/tokenswarm/runs.json`),
  };
  const read = {};
  for (const [name, attempt] of Object.entries(attempts)) {
    try {
      const answer = await attempt();
      read[name] = answer.ok ? await answer.text() : "";
    } catch {
      read[name] = "";
    }
  }
  for (const path of ["swarm", "stop"]) {
    await fetch(`${target}/${path}`, { method: "POST", mode: "no-cors", body }).catch(() => null);
    const hidden = document.createElement("iframe");
    hidden.name = path;
    const sent = document.createElement("form");
    Object.assign(sent, { method: "POST", action: `${target}/${path}`, target: path });
    for (const [name, value] of body) {
      const field = document.createElement("input");
      Object.assign(field, { name, value });
      sent.append(field);
    }
    document.body.append(hidden, sent);
    await new Promise((done) => { hidden.onload = done; sent.submit(); });
  }
  read.framed = await new Promise((done) => {
    const frame = document.createElement("iframe");
    frame.onload = () => { try { done(frame.contentDocument?.body.innerText ?? ""); } catch { done(""); } };
    frame.src = `${target}/tokenswarm/form.json`;
    document.body.append(frame);
  });
  return read;
}
"""


def attack(page: Page, origin: str, target: str) -> None:
    """All that a page of `origin` can try."""
    page.route(f"{origin}/attack", lambda route: route.fulfill(body="<!doctype html><body>", content_type="text/html"))
    page.goto(f"{origin}/attack")
    form = {"user_count": "1", "spawn_rate": "1", "shape": "free"}
    read = page.evaluate(ATTACK, {"target": target, "form": form})
    assert not any(read.values()), read


def test_a_page_of_another_origin_can_do_nothing_and_the_normal_pages_work(
    start_locust: Start, browser: Browser
) -> None:
    started, url = served(start_locust)
    port = url.rpartition(":")[2]
    context = browser.new_context()
    normal = Watched(context.new_page(), url)
    page = normal.page
    page.goto(f"{url}/tokenswarm/")
    origins = {  # as the attacker's page is called: what it addresses
        f"http://{EVIL}:8000": url,
        f"http://127.0.0.1:{free_port()}": url,
        f"http://localhost:{port}": url,
        f"http://{EVIL}:{port}": f"http://{EVIL}:{port}",
    }
    evil = context.new_page()  # of the same browser: its cookies are sent where the browser sends them
    for origin, target in origins.items():
        attack(evil, origin, target)
        assert page.request.get(f"{url}/stats/requests").json()["state"] == "ready", origin
    assert not list(started.results.glob("*"))

    begin(page, **{**LADDER, "level_time": "60s"})
    requests = page.locator("#tiles > div", has_text="Requests").locator("dd")
    expect(requests).not_to_have_text("0", timeout=PATIENCE_MS)
    for origin, target in origins.items():
        attack(evil, origin, target)
        assert page.request.get(f"{url}/stats/requests").json()["state"] in ("spawning", "running"), origin
    page.click("#stop")
    expect(page.locator("#run-heading")).to_have_text("Last run (interrupted)", timeout=PATIENCE_MS)
    assert not normal.wrong
    started.process.terminate()
    assert "Traceback" not in started.end().output


def test_the_embedded_login_and_locusts_own_form(start_locust: Start, browser: Browser) -> None:
    password = "correct horse battery"
    arguments = ("--web-base-path", "/under", "--levels", "1", "--level-time", "60s", "--ramp", "1s")
    env = {"TOKENSWARM_WEB_PASSWORD": password}
    started, url = served(start_locust, *arguments, base_path="/under", env=env)
    page = browser.new_context().new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"{url}/tokenswarm/")
    page.fill("#username", "tokenswarm")
    page.fill("#password", "wrong password")
    page.keyboard.press("Enter")
    expect(page.locator("#complaint")).to_be_visible(timeout=PATIENCE_MS)
    watched = Watched(page, url.removesuffix("/under"))
    page.fill("#password", password)
    page.keyboard.press("Enter")
    expect(page.locator("#state")).to_have_text("ready", timeout=PATIENCE_MS)
    page.goto(f"{url}/")
    page.get_by_role("button", name="Start").click()
    page.get_by_role("button", name="Stop").click()
    until(lambda: bool(list(started.results.glob("*/report.html"))))
    page.click("#tokenswarm-link")
    expect(page.locator("#past tbody tr")).to_have_count(1, timeout=PATIENCE_MS)
    page.get_by_role("button", name="Log out").click()
    expect(page.locator("#username")).to_be_visible(timeout=PATIENCE_MS)
    assert _status(f"{url}/tokenswarm/live.json") == 401
    # A browser complains of each 401: of the wrong password, and of what was asked for while logging out.
    assert not [words for words in watched.wrong if "401" not in words]
    started.process.terminate()
    run = started.end()
    assert "Traceback" not in run.output
    kept = [path for path in run.results.rglob("*") if path.is_file()]
    assert not [path for path in kept if password.encode() in path.read_bytes()]
    assert password not in run.output
