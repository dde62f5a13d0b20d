"""The login of the web page: its form, and the gate before every route. Knows Flask, and nothing of Locust."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from math import ceil
from pathlib import Path
from typing import NamedTuple

from flask import Flask, Response, abort, redirect, request, send_from_directory
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user

from tokenswarm.web.login import AttemptLimit, Credentials, Sessions

STATIC = Path(__file__).resolve().parent / "static"
LOGIN_ENDPOINT = "locust.login"
#: What a browser needs before anybody has logged in. None of it contains anything of a run.
_PUBLIC = frozenset((LOGIN_ENDPOINT, "locust.send_assets", "tokenswarm.login", "tokenswarm.asset"))
_MOST_FORM_BYTES = 16 * 1024

_ASSETS = frozenset(("page.css", "theme.js"))


class PublicRoute(NamedTuple):
    """A route that needs no login."""

    path: str
    method: str
    view: Callable[..., Response]


class _User(UserMixin):  # type: ignore[misc]  # flask_login has no types
    """A person with the password. id: of the session, "" for a request that brings the password itself."""

    def __init__(self, session: str) -> None:
        self.id = session


class LoginPages:
    """A login with one user name and one password, by a form or, for programs, by HTTP basic authentication."""

    def __init__(
        self,
        credentials: Credentials,
        base_path: str,
        sessions: Sessions | None = None,
        limit: AttemptLimit | None = None,
    ) -> None:
        self._credentials = credentials
        self._base_path = base_path.rstrip("/")
        self._sessions = sessions or Sessions()
        self._limit = limit or AttemptLimit()

    def attach(self, app: Flask, manager: LoginManager) -> None:
        """Require a login for every route. A locustfile that sets up its own login later replaces this one."""
        self._manager = manager
        manager.user_loader(self._user_of_session)
        manager.request_loader(self._user_of_header)
        app.before_request(self._gate)

    @property
    def is_active(self) -> bool:
        """Whether this login is in force, not one of another locustfile."""
        return bool(self._manager._user_callback == self._user_of_session)

    def routes(self) -> list[PublicRoute]:
        """Below the page's own prefix."""
        return [
            PublicRoute("/login", "POST", self.login),
            PublicRoute("/logout", "POST", self.logout),
            PublicRoute("/login/<name>", "GET", self.asset),
        ]

    def asset(self, name: str) -> Response:
        """The login form."""
        if name not in _ASSETS:
            abort(404)
        return send_from_directory(STATIC, name)

    def login(self) -> Response:
        """Check the form; a redirect where it is right, the form again where it is not."""
        if not self.is_active:
            abort(404)
        request.max_content_length = _MOST_FORM_BYTES
        address = request.remote_addr or ""
        if wait_s := self._limit.wait_s(address):
            return self._page(f"Too many failed attempts. Try again in {ceil(wait_s)} s.", 429, wait_s)
        if not self._credentials.match(request.form.get("username", ""), request.form.get("password", "")):
            self._limit.failed(address)
            return self._page("Wrong user name or password.", 401)
        self._limit.succeeded(address)
        login_user(_User(self._sessions.open()))
        return _redirect(f"{self._base_path}{_path_after_login(request.form.get('next', ''))}")

    def logout(self) -> Response:
        """End the session on the server too."""
        if current_user.is_authenticated:
            self._sessions.close(current_user.id)
        logout_user()
        return _redirect(f"{self._base_path}/login")

    def _gate(self) -> Response | None:
        if not self.is_active:
            return None
        if request.endpoint == LOGIN_ENDPOINT:
            return _redirect(f"{self._base_path}/") if current_user.is_authenticated else self._page()
        if request.endpoint in _PUBLIC or current_user.is_authenticated:
            return None
        if request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
            to_tokens = request.path.startswith(f"{self._base_path}/tokenswarm")
            return _redirect(f"{self._base_path}/login{'?next=tokens' if to_tokens else ''}")
        if request.authorization and (wait_s := self._limit.wait_s(request.remote_addr or "")):
            return _refused(f"Too many failed attempts. Try again in {ceil(wait_s)} s.", 429, wait_s)
        return _refused("Log in first; a program sends user name and password as HTTP basic authentication.", 401)

    def _user_of_session(self, session: str) -> _User | None:
        return _User(session) if self._sessions.is_open(session) else None

    def _user_of_header(self, _request: object) -> _User | None:
        given = request.authorization
        address = request.remote_addr or ""
        if not self.is_active or given is None or given.type != "basic" or self._limit.wait_s(address):
            return None
        if self._credentials.match(given.username or "", given.password or ""):
            self._limit.succeeded(address)
            return _User("")
        self._limit.failed(address)
        return None

    def _page(self, complaint: str = "", status: int = 200, wait_s: float = 0.0) -> Response:
        after = request.values.get("next", "")
        text = (STATIC / "login.html").read_text(encoding="utf-8")
        values = {
            "base": self._base_path,
            "next": after if after == "tokens" else "",
            "user": request.form.get("username", "")[:100],
            "complaint": complaint,
            "hidden": "" if complaint else "hidden",
            "focus_user": "" if request.form.get("username") else "autofocus",
            "focus_password": "autofocus" if request.form.get("username") else "",
        }
        for name, value in values.items():
            text = text.replace(f"{{{{ {name} }}}}", escape(value).replace("{{", "&#123;{"))
        response = Response(text, status=status, mimetype="text/html", headers={"Cache-Control": "no-store"})
        if wait_s:
            response.headers["Retry-After"] = str(ceil(wait_s))
        return response


def _path_after_login(after: str) -> str:
    """A path of this application; the front page for anything else, as an outside address could lead anywhere."""
    return "/tokenswarm/" if after == "tokens" else "/"


def _redirect(location: str) -> Response:
    response: Response = redirect(location, code=303)  # type: ignore[assignment]
    return response


def _refused(message: str, status: int, wait_s: float = 0.0) -> Response:
    headers = {"Retry-After": str(ceil(wait_s))} if wait_s else {}
    response = Response(f"{message}\n", status=status, mimetype="text/plain", headers=headers)
    response.headers["Cache-Control"] = "no-store"
    return response
