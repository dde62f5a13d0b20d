"""The page inside Locust's: its routes, its link, what it adds to Locust's own, and starts that are checked first."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

import locust.html
from flask import Response, jsonify, request
from locust.argument_parser import ui_extra_args_dict
from locust.env import Environment
from locust.runners import (
    STATE_CLEANUP,
    STATE_RUNNING,
    STATE_SPAWNING,
    STATE_STOPPING,
    MasterRunner,
    Runner,
)
from locust.util.timespan import parse_timespan
from locust.web import WebUI

from metrics.prometheus import LiveRun
from page.blueprint import PREFIX, Routes
from page.form import FormError, Option, given
from page.live import LiveView
from page.runs import LINKED
from page.section import KEY, extended_rows, extended_table, report_section

logger = logging.getLogger(__name__)

_BUSY = {
    STATE_SPAWNING: "A run goes on: stop it first.",
    STATE_RUNNING: "A run goes on: stop it first.",
    STATE_STOPPING: "The last run is still being stopped; try again in a moment.",
    STATE_CLEANUP: "The last run is still being stopped; try again in a moment.",
}
_LOCUSTS_OWN = {
    "host": "address of the server, without /v1",
    "user_count": "how many there are at most",
    "spawn_rate": "how many are added each second",
    "run_time": "a time like 20s, 5m or 1h30m; empty: until it is stopped",
}

Check = Callable[[Environment, Namespace, str], None]


class WebPage:
    """Locust's page with tokens in it. `check` raises ValueError, in a sentence, for options that no run can begin
    with; what it says is shown where the run was to be started."""

    def __init__(self, live: LiveRun, check: Check) -> None:
        self._view = LiveView(live)
        self._live = live
        self._check = check
        self._environment: Environment
        self.refusal: str | None = None

    def attach(self, environment: Environment) -> None:
        """At Locust's init, where the books are kept. Without a page of Locust's, its report still has our section."""
        self._environment = environment
        self._extend_report()
        ui = environment.web_ui
        if ui is None or ui.app is None:
            return
        base_path = _options(environment).web_base_path or ""
        self._extend_tabs(ui)
        self._guard_starts(ui)
        ui.app.register_blueprint(Routes(self, self._view).blueprint(base_path, ui.auth_required_if_enabled))

    def refuse(self, reason: str) -> None:
        """A start that had passed its check did not become a run after all."""
        self.refusal = reason

    # What the page asks.

    @property
    def state(self) -> str:
        """Locust's state; `starting` while a run was asked for and has not begun."""
        runner = _runner(self._environment)
        return "starting" if _starting(runner) else str(runner.state)

    @property
    def options(self) -> Namespace:
        """As they stand."""
        return _options(self._environment)

    def form(self) -> Sequence[Option]:
        """Locust's own fields, and ours."""
        options = self.options
        own = {
            "host": self._environment.host or "",
            "user_count": options.num_users or 1,
            "spawn_rate": options.spawn_rate or 1,
            "run_time": f"{options.run_time:g}s" if options.run_time else "",
        }
        fields = [Option(name, own[name], text) for name, text in _LOCUSTS_OWN.items()]
        for name, told in ui_extra_args_dict().items():
            if not told["is_secret"]:
                fields.append(Option(name, getattr(options, name), told["help_text"] or "", told["choices"]))
        return fields

    # What Locust's page gets.

    def _guard_starts(self, ui: WebUI) -> None:
        assert ui.app is not None

        @ui.auth_required_if_enabled
        def refused() -> Response | None:
            reason = self._reason_to_refuse()
            if reason is None:
                self.refusal = None
                return None
            logger.warning("A run that the page asked for does not begin: %s", reason)
            return jsonify({"success": False, "message": reason, "host": self._environment.host})

        @ui.app.before_request
        def before() -> Response | None:
            return refused() if request.endpoint == "locust.swarm" else None

    def _reason_to_refuse(self) -> str | None:
        """Why no run can begin with what the form holds. Locust itself would answer `success` and begin none."""
        runner = _runner(self._environment)
        if _starting(runner) or runner.state in _BUSY:
            return _BUSY.get(runner.state, "A run is about to begin already.")
        if isinstance(runner, MasterRunner) and not runner.worker_count:
            return "No worker has connected yet: start one with --worker, or this process with --processes."
        form = request.form
        try:
            ours = {name: text for name, text in form.items() if name not in _LOCUSTS_OWN}
            options = given(ours, self.options)
            _take_locusts_own(options, form)
            self._check(self._environment, options, form.get("host", self._environment.host or ""))
        except ValueError as error:
            return str(error)
        if not form.get("run_time"):
            self.options.run_time = None  # Locust would keep the last run's
        return None

    def _extend_tabs(self, ui: WebUI) -> None:
        assert ui.app is not None
        files = [name for name in LINKED if name != "summary.json"]
        ui.template_args.update(
            extended_tabs=[{"title": "Tokens", "key": KEY}],
            extended_tables=[extended_table()],
            extended_csv_files=[
                {"href": f".{PREFIX}/runs/latest/{name}", "title": f"Tokenswarm: {name}"} for name in files
            ],
        )

        @ui.app.after_request
        def after(response: Response) -> Response:
            if request.endpoint == "locust.request_stats" and response.is_json:
                stats: dict[str, Any] = response.get_json()
                stats["extended_stats"] = [{"key": KEY, "data": extended_rows(self._view.levels())}]
                response.set_data(jsonify(stats).get_data())
            elif request.endpoint == "locust.index" and response.status_code == 200:
                link = f'<script defer src=".{PREFIX}/assets/link.js"></script></body>'
                response.set_data(response.get_data(as_text=True).replace("</body>", link))
            return response

    def _extend_report(self) -> None:
        render = locust.html.render_template_from

        def rendered(file: str, *arguments: Any, **named: Any) -> str:
            text: str = render(file, *arguments, **named)
            if file != "report.html":
                return text
            before, end, behind = text.rpartition("</body>")  # its scripts hold the same words in a string
            return before + self._section() + end + behind

        locust.html.render_template_from = rendered

    def _section(self) -> str:
        facts = self._live.facts
        if facts is None:
            return ""
        version = f" {facts.engine_version}" if facts.engine_version else ""
        model = f", model {facts.model}" if facts.model else ""
        told = f"{facts.engine}{version} at {facts.host}{model}; results in {self._live.folder}"
        return report_section(self._view.levels(), told, self._view.reasons())


def _take_locusts_own(options: Namespace, form: Any) -> None:
    """As Locust will take them. Raises ValueError."""
    for name, attribute, kind in (("user_count", "num_users", int), ("spawn_rate", "spawn_rate", float)):
        if text := form.get(name):
            try:
                setattr(options, attribute, kind(text))
            except ValueError:
                option = "--users" if name == "user_count" else "--spawn-rate"
                raise FormError(f"{option} takes a number, got {text!r}.") from None
    try:
        options.run_time = parse_timespan(form["run_time"]) if form.get("run_time") else None
    except ValueError:
        raise FormError(f"--run-time takes a time like 20s, 5m or 1h30m, got {form['run_time']!r}.") from None


def _starting(runner: Runner) -> bool:
    return runner.shape_greenlet is not None and runner.state not in _BUSY


def _runner(environment: Environment) -> Runner:
    assert environment.runner is not None
    return environment.runner


def _options(environment: Environment) -> Namespace:
    options: Namespace | None = environment.parsed_options
    assert options is not None
    return options
