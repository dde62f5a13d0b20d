"""Our page as a person uses it: a real browser, Locust in a process of its own, the simulator as its server."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.runs.harness import ROOT, Start, Started, StartSimulator, free_port, read_csv, run_files, run_folders, until
from tokenswarm.reports.past_runs import LINKED
from tokenswarm.reports.progress_line import WITHOUT_DRAINS
from tokenswarm.web.live_view import LevelRow
from tokenswarm.web.locust_tables import extended_rows

pytestmark = pytest.mark.slow

PATIENCE_MS = 120_000
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
    """How many points are drawn of the first chart's line."""
    path: str = page.locator("#charts .plot path.line").first.get_attribute("d") or ""
    return len(re.findall("[ML]", path))


def counted(page: Page) -> list[list[float]]:
    """(seconds since the run began, users) of each point of the chart of users."""
    points: list[list[float]] = page.evaluate("document.getElementById('charts').plots[3].points('users')")
    return points


def tiles(page: Page) -> list[Any]:
    return page.locator("#tiles > div").all()


def begin(page: Page, **values: str) -> None:
    fill(page, **values)
    page.click("#begin")


def refused(page: Page, **values: str) -> str:
    """What the page says of a start with these."""
    page.evaluate("document.getElementById('complaint').hidden = true")
    begin(page, **values)
    expect(page.locator("#complaint")).to_be_visible(timeout=PATIENCE_MS)
    return page.inner_text("#complaint")


def fields_in_error(page: Page) -> set[str]:
    """The fields that have an error beside them."""
    shown = page.locator(".field-error").all()
    assert all(error.inner_text() for error in shown)
    return {error.evaluate("it => it.id").removeprefix("option-").removesuffix("-error") for error in shown}


def test_runs_from_the_page(start_locust: Start, browser: Browser) -> None:
    started, url = served(start_locust, "--processes", "2", pictures=True)
    watched = Watched(browser.new_page(), url)
    page = watched.page
    page.goto(url)
    expect(page.locator("#tokenswarm-plan")).to_contain_text("10, 50, 100 users", timeout=PATIENCE_MS)
    assert "%%" not in page.content()  # in the help of an option, as argparse has it
    assert not page.is_visible("input[name=userCount]")  # the ladder does not use it
    page.get_by_role("button", name="Run a number of users instead").click()
    expect(page.locator("input[name=userCount]")).to_be_focused()
    page.click("#tokenswarm-link")
    expect(page.locator("#state")).to_have_text("ready", timeout=PATIENCE_MS)
    assert "%%" not in page.content()

    # All that is wrong is shown at once, beside each field and in its words, and the next start works.
    simulator = page.input_value("#option-host")
    assert "takes numbers of users like 10,50,100, got 'ten'." in refused(page, **{**LADDER, "levels": "ten"})
    assert page.get_attribute("#option-levels", "aria-invalid") == "true"
    assert page.evaluate("document.activeElement.id") == "option-levels"
    wrong = {"prompts": "missing.jsonl", "max_tokens": "many", "fail_if": "rate < many", "pass_if": "rate", "seed": "x"}
    assert re.findall(r"--[a-z-]+", refused(page, **wrong)) == ["--web-allow-folder"]
    assert fields_in_error(page) == {"levels", *wrong}
    linked = page.locator("#complaint a").evaluate_all(
        "links => links.map((link) => link.hash.replace('#option-', ''))"
    )
    assert linked == ["levels", "prompts", "max_tokens", "fail_if", "pass_if", "seed"]  # in the form's order
    page.locator("#complaint a", has_text="Pass if").click()
    assert page.evaluate("document.activeElement.id") == "option-pass_if"
    lines = page.locator("#complaint .code").all_inner_texts()
    assert {"  rate < many", "  rate"} <= set(lines)
    marked = page.locator(".code").evaluate_all("all => all.map((line) => getComputedStyle(line).whiteSpace)")
    assert set(marked) == {"pre"}  # the marks stand in place
    good = {**LADDER, "prompts": "sample", "fail_if": "", "pass_if": "", "seed": "1"}
    dead = f"http://127.0.0.1:{free_port()}"
    assert "cannot be reached" in refused(page, **good, host=dead)
    assert fields_in_error(page) == {"host"}
    assert not list(started.results.glob("*/run.json"))
    assert_preset_fills_in(page)
    fill(page, **{**good, "host": simulator, "level_time": "6s"})
    intended = f"2, 3 users without system prompt; level time 6 s, of which ramp 1 s; 12 s in all, {WITHOUT_DRAINS}"
    expect(page.locator("#intended")).to_have_text(f"Start runs: {intended}.", timeout=PATIENCE_MS)
    page.click("#begin")

    # The run shows itself: its levels, and figures that move.
    expect(page.locator("#where")).to_contain_text("Level 1 of 2: 2 users without system prompt", timeout=PATIENCE_MS)
    assert not page.is_visible("#complaint")
    requests = page.locator("#tiles > div", has_text="Requests").locator("dd")
    expect(requests).not_to_have_text("0", timeout=PATIENCE_MS)
    expect(page.locator(".charts .plot svg").first).to_be_visible()
    until(lambda: drawn(page) >= 1)
    at_first = drawn(page)
    again = page.request.post(f"{url}/swarm", form={"user_count": "1", "spawn_rate": "1"})
    assert again.json()["message"] == "A run is already in progress. Stop it first."
    until(lambda: drawn(page) > at_first)  # the chart's line grows while the page is open
    tile = page.locator("#tiles > div", has_text="Tokens/s").locator("dd")
    expect(tile).to_have_text(re.compile("[1-9]"), timeout=PATIENCE_MS)
    assert counted(page)[0][1] == 0  # from no user on
    periods = {tile.locator("dt > span").inner_text(): tile.locator("small").inner_text() for tile in tiles(page)}
    assert periods["Tokens/s"] == "last 5 s"
    assert periods["Requests"] == periods["Failures"] == "whole run"
    assert re.fullmatch(r"\d+:\d\d to \d+:\d\d", periods["TTFT p50"])
    expect(page.locator("#where")).to_contain_text("Level 2 of 2: 3 users", timeout=PATIENCE_MS)
    expect(page.locator("#levels tr.on th")).to_have_text("3", timeout=PATIENCE_MS)
    stopping = "document.getElementById('stop').click(); document.getElementById('where').textContent"
    assert page.evaluate(stopping) == "Stopping: streams are being cut."  # at once, not with the next poll
    expect(page.locator("#run-heading")).to_have_text("Last run (interrupted)", timeout=PATIENCE_MS)
    assert any(words.startswith("INTERRUPTED") for words in page.locator("#reasons li").all_inner_texts())
    bars = [float(bar.evaluate("it => it.style.getPropertyValue('--done')")) for bar in page.locator("#plan i").all()]
    assert bars[0] == 1.0 > bars[1]  # the level that was stopped did not get to its end
    page.locator("#files a", has_text="Report").click()  # inside the page
    inside = page.frame_locator("#reader iframe")
    expect(inside.locator("body")).to_contain_text("Interrupted", ignore_case=True, timeout=PATIENCE_MS)
    page.keyboard.press("Escape")
    expect(page.locator("#reader")).to_be_hidden(timeout=PATIENCE_MS)
    (stopped,) = (json.loads(path.read_text()) for path in run_files(started.results, "summary.json"))
    (recorded,) = (json.loads(path.read_text()) for path in run_files(started.results, "run.json"))
    assert [(level["users"], level["ramp_s"], level["level_time_s"]) for level in recorded["plan"]] == [
        (2, 1.0, 6.0),
        (3, 1.0, 6.0),
    ]
    assert page.inner_text("#verdict") == stopped["validity"]["verdict"]
    assert_last_level_on_tile(page, stopped)
    (period,) = {tile.locator("small").inner_text() for tile in tiles(page)[:5]}
    assert re.fullmatch(r"hold, [23] users", period)
    # Two users while the first level was held.
    assert {users for when_s, users in counted(page) if 1 <= when_s <= 6} == {2}

    # What was chosen stays chosen: not what the last run found.
    expect(page.locator("#option-levels")).to_have_value("2,3")
    assert page.input_value("#option-engine") == "auto"
    assert page.input_value("#option-model") == ""
    begin(page, shape="free", user_count="2", spawn_rate="5", run_time="2s", warm_up="1", fail_if="p50(ttft) > 1us")
    expect(page.locator("#where")).to_contain_text("Level 1 of 1: 2 users", timeout=PATIENCE_MS)
    expect(page.locator("#run-heading")).to_have_text("Last run (finished)", timeout=PATIENCE_MS)
    expect(page.locator("#conditions li")).to_contain_text("fail if p50(ttft) > 1us")
    expect(page.locator("#conditions .pill")).to_have_text("fail")
    expect(page.locator("#past tbody tr")).to_have_count(2)
    page.locator("#points > summary").click()
    expect(page.locator("#points tbody tr").first).to_be_visible()

    folders = run_folders(started.results)[::-1]
    assert [row.inner_text() for row in page.locator("#past tbody th").all()] == [folder.name for folder in folders]
    assert_downloads(page, folders)
    assert_level_shown(page, json.loads((folders[0] / "summary.json").read_text()))
    assert_locusts_own_page(page, url, folders[0])
    assert not watched.wrong
    page.goto(f"{url}/tokenswarm/")
    expect(page.locator("#state")).to_have_text("finished", timeout=PATIENCE_MS)
    assert_compared(page)
    started.process.terminate()
    assert "Traceback" not in started.end().output
    expect(page.locator("#state")).to_have_text("no connection", timeout=PATIENCE_MS)
    expect(page.locator("#offline")).to_contain_text(re.compile(r"Lost connection to Locust since \d\d:\d\d:\d\d"))


def assert_preset_fills_in(page: Page) -> None:
    """A preset's values are in visible fields, and what Start would run is the sentence beside it."""
    page.get_by_role("button", name="Capacity search").click()
    assert page.input_value("#option-slo") == "ttft=500ms tpot=50ms"
    expect(page.locator("#intended")).to_contain_text("from 1 to 1000", timeout=PATIENCE_MS)
    assert page.is_hidden("#option-levels")
    page.fill("#option-slo", "")
    page.get_by_role("button", name="Quick look").click()
    set_by_preset = page.locator(".field.by-preset")
    shown = dict(zip(set_by_preset.locator("label").all_inner_texts(), set_by_preset.locator("input, select").all()))
    values = {name: field.input_value() for name, field in shown.items() if field.is_visible()}
    assert values.items() >= {"Shape": "ladder", "Levels": "1,5,10", "Ramp": "2s", "Level time": "15s"}.items()
    assert all(f"{name} {value or 'empty'}" in page.inner_text("#filled") for name, value in values.items())
    assert page.is_hidden("#option-user_count")  # the ladder does not use it
    expect(page.locator("#intended")).to_contain_text("1, 5, 10 users", timeout=PATIENCE_MS)


def assert_downloads(page: Page, folders: list[Path]) -> None:
    """Each file of each run comes as it lies in its folder, and they tell the same story."""
    for row, folder in zip(page.locator("#past tbody tr").all(), folders):
        links = {link.evaluate("it => it.href").rpartition("/")[2]: link for link in row.locator("a").all()}
        assert links.keys() == {"report.html", "requests.csv"}
        got = {}
        for name, link in links.items():
            answer = page.request.get(address := link.evaluate("it => it.href"))
            assert answer.body() == (folder / name).read_bytes()
        folder_url = address.rpartition("/")[0]
        for name in LINKED:
            answer = page.request.get(f"{folder_url}/{name}")
            assert answer.body() == (folder / name).read_bytes()
            got[name] = answer.text()
        summary = json.loads(got["summary.json"])
        assert len(list(csv.DictReader(io.StringIO(got["requests.csv"])))) == summary["accounting"]["rows"] > 0
        rates = [row["token_rate"] for row in csv.DictReader(io.StringIO(got["summary.csv"])) if row["scope"] == "hold"]
        assert [float(rate) if rate else None for rate in rates] == [
            level["hold"]["token_rate"] for level in summary["levels"]
        ]
        most = max(level["hold"]["token_rate"] or 0.0 for level in summary["levels"])
        shown = row.locator("td").nth(1).inner_text()
        assert float(shown.replace(",", "")) == pytest.approx(most, rel=0.01)


def assert_compared(page: Page) -> None:
    """Two runs with different settings are refused with what differs, which stays in place while another run ends; on
    request, they are compared all the same."""
    expect(page.locator("#compare")).to_be_disabled()
    for box in page.locator("#past input").all():
        box.check()
    page.click("#compare")
    expect(page.locator("#unlike")).to_contain_text("shape", timeout=PATIENCE_MS)
    assert not re.search(r"--allow|/", page.locator("#unlike > div").inner_text())
    begin(page, shape="free", user_count="1", spawn_rate="5", run_time="1s")
    expect(page.locator("#past tbody tr")).to_have_count(3, timeout=PATIENCE_MS)
    page.locator("#unlike button").click()
    inside = page.frame_locator("#reader iframe")
    expect(inside.locator("h1")).to_contain_text("Comparison of", timeout=PATIENCE_MS)
    page.keyboard.press("Escape")
    folder = page.locator("#past tbody th").first.inner_text()
    page.locator("#past a", has_text="Report").first.click()
    expect(page.get_by_role("dialog", name=f"Report of {folder}")).to_be_visible(timeout=PATIENCE_MS)
    expect(inside.locator("h1")).to_contain_text("Load test of", timeout=PATIENCE_MS)
    page.keyboard.press("Escape")


def assert_level_shown(page: Page, summary: dict[str, Any]) -> None:
    """The page's table of levels says what summary.json does."""
    (level,) = summary["levels"]
    heads = page.locator("#levels thead th").all_inner_texts()
    cells = dict(zip(heads, page.locator("#levels tbody tr").last.locator("th, td").all_inner_texts(), strict=True))
    assert cells["Users"] == level["level"]
    assert int(cells["Requests"].replace(",", "")) == level["hold"]["requests"]
    assert float(cells["Tokens/s"].replace(",", "")) == pytest.approx(level["hold"]["token_rate"], rel=0.01)
    assert _seconds(cells["TTFT p50"]) == pytest.approx(level["hold"]["ttft_s"]["p50"]["value"], rel=0.01)
    assert_last_level_on_tile(page, summary)


def assert_last_level_on_tile(page: Page, summary: dict[str, Any]) -> None:
    """The headline of a run that is over: the rate of its last level that has figures, not of the drain behind it."""
    *_, level = (level for level in summary["levels"] if level["hold"]["ttft_s"]["count"])
    tile = page.locator("#tiles > div", has_text="Tokens/s")
    assert f"{level['level']} users" in tile.locator("dt").inner_text()
    assert float(tile.locator("dd").inner_text().replace(",", "")) == pytest.approx(
        level["hold"]["token_rate"], rel=0.01
    )


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
    assert ours["data"][0]["name"] == "01: 2 users without system prompt"
    assert_nothing_shown_as_zero(page, url, told)
    page.goto(f"{url}/?tab=reports")
    link = page.locator("a", has_text="Tokenswarm: requests.csv")
    assert page.request.get(link.evaluate("it => it.href")).body() == (folder / "requests.csv").read_bytes()
    page.goto(f"{url}/stats/report")
    expect(page.locator("#tokenswarm td").first).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator("#root")).to_contain_text("Request Statistics", timeout=PATIENCE_MS)
    assert page.content().count("Tokens, level by level") == 1
    assert str(folder) in page.inner_text("#tokenswarm")


def assert_nothing_shown_as_zero(page: Page, url: str, told: dict[str, Any]) -> None:
    """In Locust's tab, a level that has begun and whose hold has no answer yet."""
    (ours,) = told["extended_stats"]
    rows = extended_rows([LevelRow(0, "off", "7", "7 users", 7, 2.0, 12.0, "running")])
    document = told | {"extended_stats": [ours | {"data": rows}]}
    page.route("**/stats/requests*", lambda route: route.fulfill(json=document))
    page.goto(f"{url}/?tab=tokens")
    row = page.locator("tbody tr", has_text="7 users")
    expect(row).to_be_visible(timeout=PATIENCE_MS)
    _, requests, failures, *figures = row.locator("td").all_inner_texts()
    assert (requests, failures) == ("0", "0")
    assert not any(re.search(r"\d", figure) for figure in figures), figures
    page.unroute("**/stats/requests*")


def test_two_workers_are_told_apart(start_locust: Start, browser: Browser) -> None:
    started, url = served(start_locust, "--processes", "2")
    watched = Watched(browser.new_page(viewport={"width": 400, "height": 800}, color_scheme="dark"), url)
    page = watched.page
    page.goto(f"{url}/tokenswarm/")
    begin(page, **LADDER)
    expect(page.locator("#workers tbody tr")).to_have_count(2, timeout=PATIENCE_MS)
    expect(page.locator("#run-heading")).to_have_text("Last run (finished)", timeout=PATIENCE_MS)
    (folder,) = run_folders(started.results)
    summary = json.loads((folder / "summary.json").read_text())
    shown = [int(cell.inner_text()) for cell in page.locator("#workers tbody td:nth-child(2)").all()]
    assert shown == [worker["requests"] for worker in summary["workers"]]
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert not watched.wrong


#: Of a past run's cells, without its name.
STATUS = 3


def past_rows(page: Page) -> dict[str, list[str]]:
    """The cells of the list of past runs, by folder, without the folder itself."""
    rows = page.locator("#past tbody tr").all()
    return {row.locator("th").inner_text(): row.locator("td").all_inner_texts() for row in rows}


def test_damaged_and_killed_runs_are_listed_with_what_to_do_and_without_a_choice(
    start_locust: Start, browser: Browser
) -> None:
    started, url = served(start_locust)
    results = started.results
    shutil.copytree(ROOT / "tests" / "run_folder" / "format_2", whole := results / "20260101-whole")
    shutil.copytree(whole, cut := results / "20260102-cut")
    (cut / "summary.json").write_text('{"format": 2, "status')
    watched = Watched(browser.new_page(), url)
    page = watched.page
    page.goto(f"{url}/tokenswarm/")
    begin(page, **{**LADDER, "level_time": "300s"})
    expect(page.locator("#where")).to_contain_text("Level 1 of 2", timeout=PATIENCE_MS)
    started.process.kill()
    (folder,) = (each for each in run_folders(results) if each not in (whole, cut))
    recover = f"tokenswarm recover {folder}"
    expect(page.locator("#offline")).to_contain_text(recover, timeout=PATIENCE_MS)
    started.end()

    _, url = served(start_locust)
    page.goto(f"{url}/tokenswarm/")
    expect(page.locator("#past tbody tr")).to_have_count(3, timeout=PATIENCE_MS)
    rows = past_rows(page)
    assert rows[whole.name][STATUS] == "finished"
    assert "damaged" in rows[cut.name][STATUS]
    assert f"{cut}/summary.json" in rows[cut.name][STATUS]
    assert "not ended" in rows[folder.name][STATUS]
    assert recover in rows[folder.name][STATUS]
    assert page.locator("#past input").evaluate_all("boxes => boxes.map((box) => box.value)") == [whole.name]
    assert page.is_hidden("#compare-bar")  # there is nothing to compare it with


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
    for path in ("", "live.json", "form.json", "runs.json", f"runs/{began}", "assets/page.js", "assets/plot.js"):
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


def test_a_page_whose_locust_was_killed_says_how_to_recover_the_run(start_locust: Start, browser: Browser) -> None:
    started, url = served(start_locust, "--levels", "1", "--level-time", "60s", "--ramp", "1s")
    page = browser.new_page()
    page.goto(f"{url}/tokenswarm/")
    expect(page.locator("#state")).to_have_text("ready", timeout=PATIENCE_MS)
    begin(page)
    expect(page.locator("#where")).to_contain_text("Level 1 of 2", timeout=PATIENCE_MS)
    (folder,) = run_folders(started.results)
    started.process.kill()
    started.process.wait()
    expect(page.locator("#offline")).to_contain_text(f"tokenswarm recover {folder}", timeout=PATIENCE_MS)
    expect(page.locator("#offline")).not_to_contain_text("fetch")


def test_the_embedded_login_and_locusts_own_form(start_locust: Start, browser: Browser) -> None:
    password = "correct horse battery"
    arguments = ("--web-base-path", "/under", "--levels", "1", "--level-time", "60s", "--ramp", "1s")
    env = {"TOKENSWARM_WEB_PASSWORD": password}
    started, url = served(start_locust, *arguments, base_path="/under", env=env, pictures=True)
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


def charted(page: Page, column: str) -> list[list[float]]:
    """(seconds since the run began, value) of each point that the charts have of a column."""
    points: list[list[float]] = page.evaluate(
        "column => document.getElementById('charts').plots.find((plot) => plot.visible.some((isVisible, i) =>"
        " isVisible && plot.series[i].column === column))?.points(column) ?? []",
        column,
    )
    return points


def test_an_open_loop_of_workers_is_set_up_watched_and_stopped(start_locust: Start, browser: Browser) -> None:
    started, url = served(start_locust, "--processes", "2")
    watched = Watched(browser.new_page(), url)
    page = watched.page
    page.goto(f"{url}/tokenswarm/")
    expect(page.locator("#state")).to_have_text("ready", timeout=PATIENCE_MS)
    page.select_option("#option-shape", "open")
    assert [page.locator(f"#option-{name}").is_visible() for name in ("rate", "level_time", "levels", "ramp")] == [
        *(True, True, False, False)
    ]
    assert "got nothing" in refused(page)
    assert fields_in_error(page) == {"rate"}
    wrong = {"rate": "fast", "arrivals": "poison", "max_in_flight": "many", "level_time": "soon"}
    refused(page, **wrong)
    assert fields_in_error(page) == set(wrong)
    good = {"rate": "20", "arrivals": "constant", "max_in_flight": "500", "level_time": "5m", "max_tokens": "64"}
    refused(page, **good, rate_schedule="0s:5")
    assert fields_in_error(page) == {"rate"}
    begin(page, rate_schedule="")

    expect(page.locator("#where")).to_contain_text("Level 1 of 1: 20 requests/s", timeout=PATIENCE_MS)
    until(lambda: len(charted(page, "sent_rate")) >= 2)
    assert page.locator("#tiles dt > span", has_text="Users").count() == 0
    expect(page.locator("#levels thead th").first).to_have_text("Level")
    at_first = len(charted(page, "completed_rate"))
    until(lambda: len(charted(page, "completed_rate")) > at_first)  # the charts move
    # What was due in a second as it was looked at: one more or less where its ends lie otherwise.
    assert {round(value) for _, value in charted(page, "offered_rate")[:-1]} <= {19, 20, 21}
    assert max(value for _, value in charted(page, "in_flight")) >= 1
    assert charted(page, "users") == []
    rates = page.locator("#tiles > div", has_text="Offered · sent · completed").locator("dd")
    expect(rates).to_have_text(re.compile(r"20 · [\d.]+ · [\d.]+"), timeout=PATIENCE_MS)
    shown = page.request.get(f"{url}/stats/requests").json()
    (row,) = shown["extended_stats"][0]["data"]
    assert row["name"] == "01: 20 requests/s without system prompt"
    assert row["offered_rate"] == pytest.approx(20.0, rel=0.1)
    until(lambda: page.request.get(f"{url}/stats/requests").json()["user_count"] > 2)  # in flight, not the two senders

    page.click("#stop")
    expect(page.locator("#run-heading")).to_have_text("Last run (interrupted)", timeout=PATIENCE_MS)
    (folder,) = run_folders(started.results)
    (level,) = json.loads((folder / "summary.json").read_text())["levels"]
    load = level["open_loop"]
    assert load["offered_rate"] == pytest.approx(20.0, rel=0.05)
    windows = read_csv(folder / "windows.csv")
    assert float(windows[0]["offered_rate"]) == 20.0
    rows = read_csv(folder / "requests.csv")
    assert sum(int(window["requests_sent"]) for window in windows) == len(rows)
    by_worker = Counter(row["worker"] for row in rows)
    assert set(by_worker) == {"0", "1"}
    assert abs(by_worker["0"] - by_worker["1"]) <= 10  # they take turns until each is stopped
    cells = page.locator("#levels tbody td").all_inner_texts()
    heads = page.locator("#levels thead th").all_inner_texts()[1:]
    assert dict(zip(heads, cells, strict=True))["Offered/s"] == f"{load['offered_rate']:.3g}"
    assert not watched.wrong
    started.process.terminate()
    assert "Traceback" not in started.end().output


def test_a_capacity_search_from_the_page(
    start_locust: Start, start_simulator: StartSimulator, browser: Browser
) -> None:
    server = start_simulator("--dialect", "vllm", "--max-batch", "4", "--answer-median-tokens", "10", "--step-ms", "10")
    started, url = served(start_locust, "-H", server.host)
    watched = Watched(browser.new_page(), url)
    page = watched.page
    page.goto(f"{url}/tokenswarm/")
    expect(page.locator("#state")).to_have_text("ready", timeout=PATIENCE_MS)
    page.select_option("#option-shape", "capacity")
    shown = [page.locator(f"#option-{name}").is_visible() for name in ("find_capacity", "between", "levels", "rate")]
    assert shown == [True, True, False, False]
    refused(page, find_capacity="users", between="9", precision="none")
    assert fields_in_error(page) == {"between", "precision", "find_capacity"}  # it needs objectives
    good = {"between": "1:32", "precision": "50%", "slo": "ttft=60ms", "slo_share": "80%"}
    begin(page, **good, ramp="0.5s", level_time="12s")

    expect(page.locator("#capacity")).to_have_text(
        "Capacity: so far no load decided; 0 probes done", timeout=PATIENCE_MS
    )
    expect(page.locator("#where")).to_contain_text("Probe 1: 2 users", timeout=PATIENCE_MS)
    # On a busy machine a probe may be too short for a verdict.
    first = re.compile("Capacity: so far (at least 2 users|no load decided); 1 probe done")
    expect(page.locator("#capacity")).to_have_text(first, timeout=PATIENCE_MS)
    expect(page.locator("#run-heading")).to_have_text("Last run (finished)", timeout=120_000)
    expect(page.locator("#capacity")).to_contain_text("users TTFT p80 crosses 60 ms")
    (folder,) = run_folders(started.results)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["capacity_search"]["conclusion"] in ("bracket", "inconclusive")
    assert 4 < summary["capacity_search"]["failing"] <= 9
    assert json.loads((folder / "run.json").read_text())["shape"] == "capacity"
    expect(page.locator("#levels tbody tr")).to_have_count(len(summary["levels"]))
    assert not watched.wrong
    started.process.terminate()
    assert "Traceback" not in started.end().output


def test_sessions_and_requests_that_users_left_are_columns_of_the_levels(start_locust: Start, browser: Browser) -> None:
    started, url = served(
        start_locust,
        *("--levels", "8", "--ramp", "0s", "--level-time", "5s", "--system-prompt", "off", "--settle", "0s"),
        *("--turns", "3", "--input-tokens", "60", "--output-tokens", "12", "--abandon", "20% after=first"),
    )
    watched = Watched(browser.new_page(), url)
    page = watched.page
    page.goto(f"{url}/tokenswarm/")
    expect(page.locator("#state")).to_have_text("ready", timeout=PATIENCE_MS)
    page.locator("details.folded > summary").click()
    expect(page.locator("#option-abandon")).to_have_value("20% after=first")
    assert "expected a share like 10% or 0.1" in refused(page, abandon="5 after=first")
    assert fields_in_error(page) == {"abandon"}
    begin(page, abandon="20% after=first")
    expect(page.locator("#run-heading")).to_have_text("Last run (finished)", timeout=PATIENCE_MS)
    (folder,) = run_folders(started.results)
    (level,) = json.loads((folder / "summary.json").read_text())["levels"]
    heads = page.locator("#levels thead th").all_inner_texts()[1:]
    shown = dict(zip(heads, page.locator("#levels tbody td").all_inner_texts(), strict=True))
    sessions = level["sessions"]
    assert shown["Abandoned"].replace(",", "") == str(level["hold"]["outcomes"]["abandoned"])
    for head, name in (("Sessions begun", "started"), ("completed", "completed"), ("failed", "failed")):
        assert shown[head].replace(",", "") == str(sessions[name])
    assert (shown["Turns"], shown["failed"]) == ("3", "0") and shown["Session p50"].endswith((" ms", " s"))
    assert not watched.wrong
    started.process.terminate()
    assert "Traceback" not in started.end().output
