"""Our routes: the page, what it polls, its scripts, and the files of runs. Knows Flask, and of Locust nothing."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
from flask import Blueprint, Response, abort, request, send_file, send_from_directory

from tokenswarm.recording.recording_options import results_folder
from tokenswarm.reports.past_runs import RunIndex, recover_command
from tokenswarm.run_folder.schema import Status
from tokenswarm.sanitize import shown_values
from tokenswarm.web.comparison import CannotCompare, comparison_page, trend_page
from tokenswarm.web.finished_run import FinishedRuns
from tokenswarm.web.form_words import StartError
from tokenswarm.web.live_view import LiveView
from tokenswarm.web.login_pages import PublicRoute
from tokenswarm.web.presets import PRESETS
from tokenswarm.web.security import DOCUMENT_POLICY
from tokenswarm.web.start_form import FormOption, groups

#: Under Locust's own address.
PREFIX = "/tokenswarm"
STATIC = Path(__file__).resolve().parent / "static"

#: Locust's states during a run.
_BUSY = {"starting", "spawning", "running", "stopping", "cleanup"}

Guard = Callable[[Callable[..., Any]], Callable[..., Any]]


class Console(Protocol):
    """Locust as the routes need it."""

    @property
    def state(self) -> str:
        """Locust's name of its state, such as `running`."""
        ...

    @property
    def refusal(self) -> str | None:
        """Why the last start did not become a run; None where it did."""
        ...

    @property
    def options(self) -> Namespace:
        """Their current values."""
        ...

    def form(self) -> Sequence[FormOption]:
        """The fields of the start form, with the values that a run started now would have."""
        ...

    def plan(self, form: Mapping[str, Sequence[str]]) -> tuple[str, Sequence[StartError]]:
        """What a run started with these fields would do, in one sentence; what is wrong with them. Fields that are left
        out are as the form shows them."""
        ...


class Routes:
    """The page's routes, by path."""

    def __init__(self, console: Console, view: LiveView) -> None:
        self._console = console
        self._view = view
        self._runs_index = RunIndex()
        self._finished = FinishedRuns()
        self._comparing = False
        self._has_logout = False

    def blueprint(self, base_path: str, guard: Guard, public: Sequence[PublicRoute] = ()) -> Blueprint:
        """guard: wraps a view so that it rejects requests without a login, where one is required. public: those
        of the login itself."""
        pages = Blueprint("tokenswarm", __name__, url_prefix=f"{base_path.rstrip('/')}{PREFIX}")
        views: dict[str, Callable[..., Response]] = {
            "/": self._index,
            "/assets/<name>": self._assets,
            "/live.json": self._live,
            "/form.json": self._form,
            "/presets.json": self._presets,
            "/plan.json": self._plan,
            "/runs.json": self._runs,
            "/runs/<run>/<path:name>": self._run_file,
            "/compare": self._compare,
            "/trend": self._trend,
        }
        for rule, view in views.items():
            pages.add_url_rule(rule, view.__name__.strip("_"), guard(view))
        for route in public:
            pages.add_url_rule(route.path, route.view.__name__, route.view, methods=[route.method])
        self._has_logout = bool(public)
        return pages

    def _index(self) -> Response:
        text = (STATIC / "page.html").read_text(encoding="utf-8")
        return Response(text.replace("{{ logout }}", "" if self._has_logout else "hidden"), mimetype="text/html")

    def _assets(self, name: str) -> Response:
        return send_from_directory(STATIC, name)

    def _live(self) -> Response:
        live = self._view.document(request.args.get("run", ""), request.args.get("revision", 0, type=int))
        over = self._view.run is not None and live.get("status", Status.RUNNING) != Status.RUNNING
        finished = self._finished.of(self._results / str(self._view.run)) if over else None
        of_end = {
            "conditions": finished.conditions if finished else [],
            "warnings": finished.warnings if finished else None,
        }
        places: dict[str, str | None] = {"folder": None, "recover": None}
        if self._view.run is not None:
            folder = f"{str(results_folder(self._console.options)).rstrip('/')}/{self._view.run}"
            places = {"folder": folder, "recover": recover_command(folder)}
        return _json(live | of_end | places | {"state": self._console.state, "refusal": self._console.refusal})

    def _form(self) -> Response:
        return _json(groups(self._console.form()))

    def _presets(self) -> Response:
        return _json(PRESETS)

    def _plan(self) -> Response:
        text, errors = self._console.plan(request.args.to_dict(flat=False))
        return _json({"plan": text, "errors": errors})

    def _runs(self) -> Response:
        running = self._view.run if self._view.is_running else None
        return _json(self._runs_index.runs(self._results, running, str(results_folder(self._console.options))))

    def _run_file(self, run: str, name: str) -> Response:
        """`latest` is the current run, or the last of this process."""
        folder = self._view.run if run == "latest" else run
        if folder is None:
            abort(404, "No run has begun yet.")
        file = self._runs_index.file(self._results, folder, name)
        if file is None:
            abort(404, f"{folder} has no {name}; some files are only there when a run has ended.")
        name = f"{folder}-{file.name}"
        response = send_file(file, as_attachment=file.suffix == ".csv", download_name=name, max_age=0)
        response.headers["Content-Security-Policy"] = DOCUMENT_POLICY
        return response

    def _compare(self) -> Response:
        """The comparison of the runs that `run` names; `message` says why there is none, `can_allow` whether
        `?allow=1` would compare them anyway."""
        return self._drawn(lambda folders, allow: comparison_page(self._with_names(folders), allow))

    def _trend(self) -> Response:
        """The same of the trend of these runs."""
        return self._drawn(trend_page)

    def _drawn(self, page_of: Callable[[Sequence[Path], bool], str]) -> Response:
        if self._console.state in _BUSY:
            return _json({"message": "A comparison would take CPU time from the current run. Wait for its end."})
        if self._comparing:
            return _json({"message": "Another comparison is being drawn. Try again when it is done."})
        names = request.args.getlist("run")
        files = [self._runs_index.file(self._results, name, "summary.json") for name in names]
        if missing := [name for name, file in zip(names, files, strict=True) if file is None]:
            return _json({"message": f"There is no summary.json of {', '.join(missing)} to compare."})
        self._comparing = True
        try:
            page = page_of([file.parent for file in files if file], "allow" in request.args)
        except CannotCompare as error:
            return _json({"message": str(error), "can_allow": error.can_allow})
        finally:
            self._comparing = False
        return _json({"page": page})

    def _with_names(self, folders: Sequence[Path]) -> list[tuple[Path, str]]:
        return [(folder, self._runs_index.run_of(folder).name) for folder in folders]

    @property
    def _results(self) -> Path:
        return results_folder(self._console.options).absolute()


def _json(document: Any) -> Response:
    safe = shown_values(msgspec.to_builtins(document, str_keys=True))
    return Response(msgspec.json.encode(safe), mimetype="application/json", headers={"Cache-Control": "no-store"})
