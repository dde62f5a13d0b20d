"""Our routes: the page, what it polls, its scripts, and the files of runs. Knows Flask, and of Locust nothing."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import msgspec
from flask import Blueprint, Response, abort, request, send_file, send_from_directory

from metrics.run import Status
from page.comparison import CannotCompare, comparison_page
from page.conditions import Conditions
from page.form import Option, groups
from page.live import LiveView
from page.login_pages import PublicRoute
from page.runs import RunShelf
from page.security import DOCUMENT_POLICY
from sanitize import shown_values

#: Under Locust's own address.
PREFIX = "/tokenswarm"
STATIC = Path(__file__).resolve().parent / "static"
#: The chart library comes with a package that is installed; nothing is fetched from anywhere else.
_LIBRARY = ("bokeh.min.js", "bokeh-api.min.js")
_A_YEAR_S = 365 * 24 * 3600

#: While Locust is in one of these states, a run goes on.
_BUSY = {"starting", "spawning", "running", "stopping", "cleanup"}

Guard = Callable[[Callable[..., Any]], Callable[..., Any]]


class Console(Protocol):
    """What Locust tells of itself."""

    @property
    def state(self) -> str:
        """Locust's word for what it does now."""
        ...

    @property
    def refusal(self) -> str | None:
        """Why the last start did not become a run, if it did not."""
        ...

    @property
    def options(self) -> Namespace:
        """As they stand."""
        ...

    def form(self) -> Sequence[Option]:
        """What can be set, with the values of a run that would begin now."""
        ...


def library_folder() -> Path:
    """Where the installed package keeps the chart library. It is not imported for it."""
    spec = find_spec("bokeh")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "server" / "static" / "js"


class Routes:
    """What is answered, by path."""

    def __init__(self, console: Console, view: LiveView) -> None:
        self._console = console
        self._view = view
        self._shelf = RunShelf()
        self._conditions = Conditions()
        self._library = f"lib/{version('bokeh')}"
        self._comparing = False
        self._has_logout = False

    def blueprint(self, base_path: str, guard: Guard, public: Sequence[PublicRoute] = ()) -> Blueprint:
        """guard: wraps a view so that it refuses who has not logged in, where a login is asked for. public: those
        of the login itself."""
        pages = Blueprint("tokenswarm", __name__, url_prefix=f"{base_path.rstrip('/')}{PREFIX}")
        views: dict[str, Callable[..., Response]] = {
            "/": self._index,
            "/assets/<name>": self._assets,
            "/lib/<_version>/<name>": self._lib,
            "/live.json": self._live,
            "/form.json": self._form,
            "/runs.json": self._runs,
            "/runs/<run>/<path:name>": self._run_file,
            "/compare": self._compare,
        }
        for rule, view in views.items():
            pages.add_url_rule(rule, view.__name__.strip("_"), guard(view))
        for route in public:
            pages.add_url_rule(route.path, route.view.__name__, route.view, methods=[route.method])
        self._has_logout = bool(public)
        return pages

    def _index(self) -> Response:
        text = (STATIC / "page.html").read_text(encoding="utf-8").replace("{{ library }}", self._library)
        return Response(text.replace("{{ logout }}", "" if self._has_logout else "hidden"), mimetype="text/html")

    def _assets(self, name: str) -> Response:
        return send_from_directory(STATIC, name)

    def _lib(self, _version: str, name: str) -> Response:
        if name not in _LIBRARY:
            abort(404)
        response = send_from_directory(library_folder(), name, max_age=_A_YEAR_S)
        response.cache_control.immutable = True
        return response

    def _live(self) -> Response:
        told = self._view.document(request.args.get("run", ""), request.args.get("revision", 0, type=int))
        over = self._view.run is not None and told.get("status", Status.RUNNING) != Status.RUNNING
        conditions = self._conditions.of(self._results / str(self._view.run)) if over else []
        return _json(told | {"state": self._console.state, "refusal": self._console.refusal, "conditions": conditions})

    def _form(self) -> Response:
        return _json(groups(self._console.form()))

    def _runs(self) -> Response:
        return _json(self._shelf.runs(self._results))

    def _run_file(self, run: str, name: str) -> Response:
        """`latest` is the run that goes on, or the last of this process."""
        folder = self._view.run if run == "latest" else run
        if folder is None:
            abort(404, "No run has begun yet.")
        file = self._shelf.file(self._results, folder, name)
        if file is None:
            abort(404, f"{folder} has no {name}; some files are only there when a run has ended.")
        name = f"{folder}-{file.name}"
        response = send_file(file, as_attachment=file.suffix == ".csv", download_name=name, max_age=0)
        response.headers["Content-Security-Policy"] = DOCUMENT_POLICY
        return response

    def _compare(self) -> Response:
        """The comparison of the runs that `run` names, or a sentence that says why there is none."""
        if self._console.state in _BUSY:
            return _json({"message": "A comparison takes the core that the run needs: wait for its end."})
        if self._comparing:
            return _json({"message": "Another comparison is being drawn: try again when it is done."})
        names = request.args.getlist("run")
        files = [self._shelf.file(self._results, name, "summary.json") for name in names]
        self._comparing = True
        try:
            page = comparison_page([file.parent for file in files if file], allow="allow" in request.args)
        except CannotCompare as error:
            return _json({"message": str(error)})
        finally:
            self._comparing = False
        return _json({"page": page})

    @property
    def _results(self) -> Path:
        return Path(self._console.options.results).absolute()


def _json(document: Any) -> Response:
    safe = shown_values(msgspec.to_builtins(document, str_keys=True))
    return Response(msgspec.json.encode(safe), mimetype="application/json", headers={"Cache-Control": "no-store"})
