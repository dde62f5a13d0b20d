"""The page inside Locust's: its routes, its link, what it adds to Locust's own, and starts that are checked first."""

from __future__ import annotations

import json
import logging
import secrets
import socket
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gevent
from flask import Flask, Response, jsonify, request
from locust.argument_parser import ui_extra_args_dict
from locust.env import Environment
from locust.runners import MasterRunner, Runner
from locust.util.timespan import parse_timespan
from locust.web import WebUI
from werkzeug.datastructures import ImmutableMultiDict
from werkzeug.exceptions import HTTPException

from tokenswarm.command_line import Collected, collect_errors, sentences_of
from tokenswarm.recording.prometheus import LiveRun
from tokenswarm.reports.past_runs import LINKED
from tokenswarm.sanitize import shown
from tokenswarm.upstream.locust_internals import cache_form_options, extend_html_report
from tokenswarm.web.form_words import StartError, start_errors
from tokenswarm.web.live_view import LiveView
from tokenswarm.web.locust_tables import KEY, extended_rows, extended_table, report_section
from tokenswarm.web.login import Credentials
from tokenswarm.web.login_pages import LoginPages
from tokenswarm.web.origins import AllowedOrigins, allowed_names, is_loopback_bind
from tokenswarm.web.routes import PREFIX, Routes
from tokenswarm.web.security import PAGE_POLICY, REPORT_POLICY, SecuredApplication, request_of
from tokenswarm.web.start_answer import BUSY, is_starting, message_of, not_started, wait_for_start
from tokenswarm.web.start_form import FormError, FormOption, given, labels_of
from tokenswarm.web.start_policy import FILES, StartPolicy
from tokenswarm.web.typed_load import ShownValues, shape_meant, shape_named
from tokenswarm.web.web_options import PASSWORD_VARIABLE, WebOptions

logger = logging.getLogger(__name__)

#: Locust's timers count in a C integer.
_LONGEST_RUN_S = 365 * 24 * 3600
_LOCUSTS_OWN = {
    "host": "address of the server: the one of the command line, one on this machine, or one of --web-allow-target",
    "user_count": "number of users",
    "spawn_rate": "users added per second",
    "run_time": "a time like 20s, 5m or 1h30m; empty: until it is stopped",
}

#: What Locust's own form sends besides; the last two only with --class-picker.
_LOCUSTS_FORM = ("profile",)
_PICKER_FORM = ("user_classes", "shape_class")
#: What Locust's page may change of a user class, with --class-picker.
_CLASS_FIELDS = frozenset(("user_class_name", "host", "weight", "fixed_count", "tasks"))
_ENTRIES = frozenset(("locust.index", "locust.login", "tokenswarm.index"))
_OUR_ROUTES = frozenset(("locust", "tokenswarm", "static"))
_REPORT_THEMES = frozenset(("", "dark", "light"))
_MOST_FORM_BYTES = 1024 * 1024

#: Checks options and a server's address without a request to the server.
CheckOptions = Callable[[Namespace, str], object]
#: What a run with some options does, in one sentence. Raises ValueError.
DescribePlan = Callable[[Namespace], str]
#: Sends the server the requests that go before a run.
FindServer = Callable[[Environment, Namespace, str], None]


class WebPage:
    """Locust's page with tokens in it. `check` and, where it finds nothing, `find_server` raise ValueError for what no
    run can begin with: sentences that are shown where the run was to be started."""

    def __init__(
        self, live: LiveRun, check: CheckOptions, find_server: FindServer, describe_plan: DescribePlan
    ) -> None:
        self._view = LiveView(live)
        self._live = live
        self._check, self._find_server, self._describe_plan = check, find_server, describe_plan
        self._environment: Environment
        self._shown = ShownValues()
        #: Why the last start did not become a run.
        self._refused: Sequence[StartError] = ()
        self.allowed_targets: Sequence[str] = ()
        self._login: LoginPages | None = None
        self._is_checking = False
        cache_form_options()

    def attach(self, environment: Environment) -> None:
        """At Locust's init, on a master and where there are no workers. Without Locust's page, its report still has
        our section."""
        self._environment = environment
        extend_html_report(self._section)
        ui = environment.web_ui
        if ui is None or ui.app is None:
            return
        options = _options(environment)
        web = WebOptions.of(options)
        self.allowed_targets = web.allow_targets
        self._policy = StartPolicy(vars(options), environment.host or "", web.allow_targets, web.allow_folders)
        base_path = (options.web_base_path or "").rstrip("/")
        self._secure(ui.app, web, base_path)
        self._login = self._add_login(ui, web, base_path)
        self._extend_tabs(ui)
        self._guard_starts(ui)
        routes = Routes(self, self._view)
        public = self._login.routes() if self._login else ()
        ui.app.register_blueprint(routes.blueprint(base_path, ui.auth_required_if_enabled, public))

    def refuse(self, error: ValueError) -> None:
        """Show, where there is a page, why a start that had passed its check did not become a run."""
        if self._environment.web_ui is not None:
            self._refused = self._in_form_words(sentences_of(error))

    # What the page shows.

    @property
    def refusal(self) -> str | None:
        """Why the last start that had passed its check did not become a run; None where it did."""
        return message_of(self._refused) or None

    @property
    def state(self) -> str:
        """Locust's state; `starting` while a run was requested and has not begun."""
        runner = _runner(self._environment)
        return "starting" if is_starting(runner) else str(runner.state)

    @property
    def options(self) -> Namespace:
        """Their current values."""
        return _options(self._environment)

    def form(self) -> Sequence[FormOption]:
        """Locust's own fields, and ours."""
        options = self.options
        own = {
            "host": self._environment.host or "",
            "user_count": options.num_users or 1,
            "spawn_rate": options.spawn_rate or 1,
            "run_time": f"{options.run_time:g}s" if options.run_time else "",
        }
        suggestions = self._policy.suggestions()
        fields = [
            FormOption(name, own[name], text, None, suggestions.get(name, ())) for name, text in _LOCUSTS_OWN.items()
        ]
        for name, argument in ui_extra_args_dict().items():
            if argument["is_secret"]:
                continue
            text = (argument["help_text"] or "").replace("%%", "%")  # as argparse prints it
            if name in FILES:
                text += ". Allowed files: those of the command line, and those in folders of --web-allow-folder"
            fields.append(
                FormOption(name, getattr(options, name), text, argument["choices"], suggestions.get(name, ()))
            )
        return fields

    def plan(self, form: Mapping[str, Sequence[str]]) -> tuple[str, Sequence[StartError]]:
        """What a run started with these fields would do; what is wrong with them. Nothing is changed."""
        try:
            with collect_errors() as errors:
                shown = {option.name: str(option.value) for option in self.form()}
                rejected = self._policy.rejected(form, shown)
                for error in rejected.values():
                    errors.add(error)
                own = {name: shown[name] for name in _LOCUSTS_OWN}
                sent = own | {name: texts[0] for name, texts in form.items() if name not in rejected}
                options = given({name: sent[name] for name in sent if name not in _LOCUSTS_OWN}, self.options, errors)
                _take_locusts_own(options, sent, errors)
                text = errors.of(self._describe_plan, options)
        except ValueError as error:
            return "", self._in_form_words(sentences_of(error))
        return text, ()

    # Who may use the page.

    def _secure(self, app: Flask, web: WebOptions, base_path: str) -> None:
        """Check every request, to Locust's routes too."""
        options = self.options
        names, any_address = allowed_names(options.web_host or "", web.allow_hosts, socket.gethostname())
        allowed = AllowedOrigins(names, any_address, lambda path: _is_entry(app, path), secrets.token_urlsafe(32))
        cookie, path = f"tokenswarm_page_{options.web_port}", base_path or "/"
        app.config["MAX_CONTENT_LENGTH"] = app.config["MAX_FORM_MEMORY_SIZE"] = _MOST_FORM_BYTES
        app.wsgi_app = SecuredApplication(app.wsgi_app, allowed, cookie, path)  # type: ignore[method-assign]

    def _add_login(self, ui: WebUI, web: WebOptions, base_path: str) -> LoginPages | None:
        """The login of --web-login. Another locustfile may still replace it."""
        options = self.options
        if not ui.web_login or ui.app is None:
            if not is_loopback_bind(options.web_host or ""):
                logger.warning("--web-open: anybody who reaches the web page can start runs and read results")
            return None
        ui.app.config.update(
            SECRET_KEY=secrets.token_bytes(32),
            SESSION_COOKIE_NAME=f"tokenswarm_session_{options.web_port}",
            SESSION_COOKIE_PATH=base_path or "/",
            SESSION_COOKIE_HTTPONLY=True,
            SESSION_COOKIE_SAMESITE="Strict",
            SESSION_COOKIE_SECURE=bool(ui.tls_cert and ui.tls_key),
        )
        login = LoginPages(Credentials(web.user, web.password), base_path)
        login.attach(ui.app, ui.login_manager)
        if web.password_is_generated:
            # After all locustfiles are set up. Not logged: the page and log files show log lines.
            gevent.spawn(_show_password, login, web)
        return login

    # Additions to Locust's page.

    def _guard_starts(self, ui: WebUI) -> None:
        assert ui.app is not None

        @ui.auth_required_if_enabled
        def refused() -> Response | None:
            reasons = self._reasons_of_check()
            if not reasons:
                self._refused = ()
                return None
            for reason in reasons:
                logger.warning("Run not started: %s", shown(reason))
            return not_started(self._in_form_words(reasons), self._environment.host)

        @ui.auth_required_if_enabled
        def class_refused() -> Response | None:
            reason = _reason_to_refuse_class(ui, self._policy)
            return None if reason is None else Response(reason, status=403, mimetype="text/plain")

        @ui.app.before_request
        def before() -> Response | None:
            if request.endpoint == "locust.swarm" and request.method == "POST":
                return _as_response(refused())
            if request.endpoint == "locust.update_user":
                return _as_response(class_refused())
            if request.endpoint == "locust.stats_report" and request.args.get("theme", "") not in _REPORT_THEMES:
                return Response(
                    "theme is dark or light", status=400, mimetype="text/plain"
                )  # Locust does not escape it
            return None

        @ui.app.after_request
        def after(response: Response) -> Response:
            is_start = request.endpoint == "locust.swarm" and request.method == "POST"
            return self._answer_to_start(response) if is_start else response

    def _answer_to_start(self, response: Response) -> Response:
        """Locust's answer, or the refusal of the run that it has just begun to start."""
        if not (response.is_json and response.get_json()["success"]):
            return response
        wait_for_start(_runner(self._environment), lambda: bool(self._refused))
        if self._refused:
            response.set_data(not_started(self._refused, self._environment.host).get_data())
        return response

    def _in_form_words(self, reasons: Sequence[str]) -> list[StartError]:
        return start_errors([shown(reason) for reason in reasons], labels_of(self.form()))

    def _reasons_of_check(self) -> list[str]:
        """The same, one start at a time: a check sends the server a request, and two would take each other's
        options."""
        if self._is_checking:
            return ["Another start is being checked; try again in a moment."]
        self._is_checking = True
        try:
            return self._reasons_to_refuse()
        finally:
            self._is_checking = False

    def _reasons_to_refuse(self) -> list[str]:
        """Why no run can start with this form: a sentence for each error; empty where one can. Locust would answer
        `success` and start none."""
        runner = _runner(self._environment)
        if is_starting(runner) or runner.state in BUSY:
            return [BUSY.get(runner.state, "A run is about to begin already.")]
        if isinstance(runner, MasterRunner) and not runner.worker_count:
            return ["No worker has connected yet: start one with --worker, or this process with --processes."]
        if request.content_length and not request.form:
            return ["The options of a run are sent as a form (application/x-www-form-urlencoded), not as JSON."]
        try:
            with collect_errors() as errors:
                options, host = self._options_of_form(errors)
                errors.of(self._check, options, host)
            self._find_server(self._environment, options, host)
        except ValueError as error:
            return sentences_of(error)
        if not request.form.get("run_time"):
            self.options.run_time = None  # Locust would keep the last run's
        return []

    def _options_of_form(self, errors: Collected) -> tuple[Namespace, str]:
        """The options as the form sets them, and the host. What it may not set or cannot hold is added to `errors`, and
        leaves its option as it is."""
        several = _PICKER_FORM if self._picks_classes else ()
        in_form = [option.name for option in self.form()] + [*_LOCUSTS_FORM, *several]
        rejected = self._policy.rejected(request.form.to_dict(flat=False), in_form, several)
        for error in rejected.values():
            errors.add(error)
        request.form = ImmutableMultiDict([(k, v) for k, v in request.form.items(multi=True) if k not in rejected])
        errors.of(self._take_shape_meant)
        form = request.form
        options = given({name: form[name] for name in form if name not in _LOCUSTS_OWN}, self.options, errors)
        _take_locusts_own(options, form, errors)
        return options, form.get("host", self._environment.host or "")

    def _take_shape_meant(self) -> None:
        """Set the form's shape to the one that its fields select, for us and for Locust. Raises FormError."""
        shown = {option.name: str(option.value) for option in self.form()}
        meant = request.form.copy()
        if request_of(request.environ, "").is_from_browser:
            meant["shape"] = shape_meant(meant.to_dict(), shown, self._shown)
        else:
            meant["shape"] = shape_named(meant.to_dict(), shown["shape"])
        request.form = ImmutableMultiDict(meant)

    @property
    def _picks_classes(self) -> bool:
        ui = self._environment.web_ui
        return ui is not None and ui.userclass_picker_is_active

    def _extend_tabs(self, ui: WebUI) -> None:
        assert ui.app is not None
        files = [name for name in LINKED if name != "summary.json"]
        ui.template_args.update(
            extended_tabs=[{"title": "Tokens", "key": KEY}],
            extended_csv_files=[
                {"href": f".{PREFIX}/runs/latest/{name}", "title": f"Tokenswarm: {name}"} for name in files
            ],
        )

        @ui.app.before_request
        def before() -> None:
            if request.endpoint == "locust.index":
                ui.template_args["extended_tables"] = [extended_table(open_loop=self._view.is_open_loop)]

        @ui.app.after_request
        def after(response: Response) -> Response:
            if request.endpoint == "locust.request_stats" and response.is_json:
                stats: dict[str, Any] = response.get_json()
                stats["extended_stats"] = [{"key": KEY, "data": extended_rows(self._view.levels())}]
                if self._view.is_open_loop:  # its users are the senders
                    stats["user_count"] = self._view.in_flight
                response.set_data(jsonify(stats).get_data())
            elif request.endpoint == "locust.index" and response.status_code == 200:
                logout = " data-logout" if self._login is not None and self._login.is_active else ""
                link = f'<script defer src=".{PREFIX}/assets/link.js"{logout}></script></body>'
                _allow_inline_script(response, response.get_data(as_text=True).replace("</body>", link))
            elif request.endpoint == "locust.login" and response.status_code == 200:
                _allow_inline_script(response, response.get_data(as_text=True))
            elif request.endpoint == "locust.stats_report":
                response.headers["Content-Security-Policy"] = REPORT_POLICY
            return response

    def _section(self) -> str:
        facts = self._live.facts
        if facts is None:
            return ""
        version = f" {facts.engine_version}" if facts.engine_version else ""
        model = f", model {facts.model}" if facts.model else ""
        text = f"{facts.engine}{version} at {facts.host}{model}; results in {self._live.folder}"
        return report_section(self._view.levels(), text, self._view.validity())


def _is_entry(app: Flask, path: str) -> bool:
    """Whether links of other sites may open it: the pages, and what other locustfiles add, as the way back from a login
    elsewhere. Not the data, ours and Locust's."""
    try:
        endpoint, values = app.url_map.bind("").match(path, method="GET")
    except HTTPException:
        return True  # there is nothing
    if endpoint == "tokenswarm.run_file":
        return bool(values["name"] == "report.html")  # a page that runs no script; people send each other its address
    return endpoint in _ENTRIES or endpoint.partition(".")[0] not in _OUR_ROUTES


def _reason_to_refuse_class(ui: WebUI, policy: StartPolicy) -> str | None:
    """Why a change of a user class is rejected, as Locust would set any attribute; None where it is not."""
    if not ui.userclass_picker_is_active:
        return "User classes can be changed only with --class-picker."
    try:
        settings = json.loads(request.data)
    except ValueError:
        settings = None
    if not isinstance(settings, dict) or not settings.keys() <= _CLASS_FIELDS:
        return f"A user class has {', '.join(sorted(_CLASS_FIELDS))} to change, and nothing else."
    if settings.get("user_class_name") not in (ui.environment.available_user_classes or {}):
        return "There is no such user class."
    try:
        if settings.get("host"):
            policy.check({"host": [str(settings["host"])]}, ["host"])
    except FormError as error:
        return str(error)
    return None


def _as_response(response: Any) -> Response | None:
    """The response of Locust's decorator, which has no types."""
    return response  # type: ignore[no-any-return]


def _allow_inline_script(response: Response, text: str) -> None:
    """Locust's pages have one script inside, the last, which holds their data as JSON."""
    nonce = secrets.token_urlsafe(16)
    before, script, behind = text.rpartition("<script>")
    response.set_data(f'{before}<script nonce="{nonce}">{behind}' if script else text)
    policy = PAGE_POLICY.replace("script-src 'self'", f"script-src 'self' 'nonce-{nonce}'")
    response.headers["Content-Security-Policy"] = policy


def _show_password(login: LoginPages, web: WebOptions) -> None:
    if login.is_active:
        print(
            f"\nThe web page requires a login. User: {web.user}  Password: {web.password}\n"
            f"(Generated for this process; set {PASSWORD_VARIABLE} or --web-password-file to choose one.)\n",
            file=sys.stderr,
            flush=True,
        )


def _take_locusts_own(options: Namespace, form: Mapping[str, str], errors: Collected) -> None:
    """Convert Locust's own fields as Locust will. What it could not convert is added to `errors`."""
    for name, attribute, kind in (("user_count", "num_users", int), ("spawn_rate", "spawn_rate", float)):
        if text := form.get(name):
            try:
                setattr(options, attribute, kind(text))
            except ValueError:
                option = "--users" if name == "user_count" else "--spawn-rate"
                errors.add(FormError(f"{option} takes a number, got {text!r}."))
    try:
        options.run_time = parse_timespan(form["run_time"]) if form.get("run_time") else None
        if (options.run_time or 0) > _LONGEST_RUN_S:
            raise ValueError
    except (ValueError, OverflowError):
        options.run_time = None
        errors.add(FormError(f"--run-time takes a time like 20s, 5m or 1h30m, got {form['run_time']!r}."))


def _runner(environment: Environment) -> Runner:
    assert environment.runner is not None
    return environment.runner


def _options(environment: Environment) -> Namespace:
    options: Namespace | None = environment.parsed_options
    assert options is not None
    return options
