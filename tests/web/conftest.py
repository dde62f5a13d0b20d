"""Locust's real web application with our page in it, in this process and without a port."""

from __future__ import annotations

import os
import shutil
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import locust.html
import pytest
from flask.testing import FlaskClient
from locust import User, constant, events, task
from locust.argument_parser import get_parser
from locust.env import Environment
from locust.event import EventHook
from locust.web import WebUI
from playwright.sync_api import Browser, sync_playwright

import tokenswarm.client.request_options
import tokenswarm.recording.recording_options
import tokenswarm.reports.checks.check_options
import tokenswarm.shapes.shape_options
import tokenswarm.web.web_options
from tokenswarm.recording.prometheus import LiveRun
from tokenswarm.run_control.plan_text import plan_text
from tokenswarm.web.locust_page import WebPage

HOST = "http://gpu.example:8000"


class Idle(User):
    """Does nothing."""

    wait_time = constant(1)

    @task
    def nothing(self) -> None:
        """It does not send."""


@dataclass
class Site:
    """The application, and what its runs would have been started with."""

    environment: Environment
    ui: WebUI
    folder: Path
    started: list[tuple[Namespace, str]] = field(default_factory=list)
    checked: list[Namespace] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None

    def check(self, given: Namespace, host: str) -> None:
        """Notes the options that are checked, and refuses none."""
        self.checked.append(given)

    def find_server(self, given: Namespace, host: str) -> None:
        """Finds it. `meanwhile` happens before."""
        self.started.append((given, host))
        self.meanwhile()

    def client(self) -> FlaskClient:
        """Without cookies yet."""
        assert self.ui.app is not None
        client = self.ui.app.test_client()
        client.environ_base["HTTP_USER_AGENT"] = "curl/8"
        return client

    def rules(self) -> set[tuple[str, str]]:
        """(method, path) of every route, without those that Flask adds by itself."""
        assert self.ui.app is not None
        return {
            (method, rule.rule)
            for rule in self.ui.app.url_map.iter_rules()
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        }


MakeSite = Callable[..., Site]


def add_options(parser: ArgumentParser, **_: Any) -> None:
    for module in (
        tokenswarm.client.request_options,
        tokenswarm.shapes.shape_options,
        tokenswarm.recording.recording_options,
        tokenswarm.reports.checks.check_options,
        tokenswarm.web.web_options,
    ):
        module.add_options(parser)
    parser.set_defaults(web_host="127.0.0.1")


@pytest.fixture
def make_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeSite]:
    """make(*arguments): as if `locust ARGUMENTS` had been started in a folder of the test's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(locust.html, "render_template_from", locust.html.render_template_from)
    monkeypatch.delenv(tokenswarm.web.web_options.PASSWORD_VARIABLE, raising=False)
    # Other tests of this process may have registered all of Tokenswarm's options.
    monkeypatch.setattr(events, "init_command_line_parser", EventHook())
    events.init_command_line_parser.add_listener(add_options)
    environments = []

    def make(*arguments: str, picks_classes: bool = False) -> Site:
        monkeypatch.setattr(sys, "argv", ["locust", "-H", HOST, *arguments])
        options = get_parser().parse_args()
        tokenswarm.web.web_options.turn_on_login(options)
        environment = Environment(
            user_classes=[Idle], host=options.host, parsed_options=options, available_user_classes={"Idle": Idle}
        )
        environments.append(environment)
        environment.available_user_tasks = {"Idle": Idle.tasks}
        environment.create_local_runner()
        ui = environment.create_web_ui(
            delayed_start=True,
            web_base_path=options.web_base_path,
            web_login=options.web_login,
            userclass_picker_is_active=picks_classes,
        )
        site = Site(environment, ui, tmp_path)
        mounted = WebPage(LiveRun(), site.check, lambda _, given, host: site.find_server(given, host), plan_text)
        mounted.attach(environment)
        return site

    yield make
    for environment in environments:
        assert environment.runner is not None
        environment.runner.quit()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, without a page."""
    chromium = shutil.which("chromium")
    if chromium is None and "CI" not in os.environ:
        pytest.skip("there is no chromium here; CI installs it")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()
