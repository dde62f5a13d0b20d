"""Around the whole web application, Locust's routes and ours: requests of other web pages are refused, every response
has security headers, and none allows other origins to read it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from tokenswarm.web.origins import AllowedOrigins, WebRequest

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger(__name__)

#: What a page of ours or of Locust's may load: nothing from another machine. Styles are made by Locust's scripts.
PAGE_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
#: For files of a run: they run no scripts, as they contain responses of the server under test.
DOCUMENT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; font-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
#: Locust's report has inline scripts; they may load nothing.
REPORT_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
#: Browsers apply it only on connections that cannot be tampered with, and warn elsewhere.
_TRUSTED_HEADERS = (("Cross-Origin-Opener-Policy", "same-origin"),)
_LOG_EVERY_S = 10.0
_POLICY = "Content-Security-Policy"


class SecuredApplication:
    """A WSGI application around Locust's."""

    def __init__(self, application: WSGIApplication, allowed: AllowedOrigins, cookie: str, path: str) -> None:
        """cookie: name of the page's own cookie, sent back only with requests of the same site. path: of the page."""
        self._application = application
        self._allowed = allowed
        self._cookie = cookie
        self._path = path
        self._log_again_s = 0.0
        self._unlogged = 0

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = request_of(environ, self._cookie)
        refusal = self._allowed.refusal(request)
        begin = self._with_headers(environ, request, start_response)
        if refusal is None:
            return self._application(environ, begin)
        self._log_refusal(request, refusal)
        begin("403 FORBIDDEN", [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
        return [msgspec.json.encode({"success": False, "message": refusal})]

    def _log_refusal(self, request: WebRequest, refusal: str) -> None:
        """Not every one: their sender must not fill the log."""
        now_s = time.monotonic()
        if now_s < self._log_again_s:
            self._unlogged += 1
            return
        others = f" (and {self._unlogged:,} others since the last such message)" if self._unlogged else ""
        logger.warning("Refused a web request: %s %r: %s%s", request.method, request.path[:100], refusal, others)
        self._log_again_s, self._unlogged = now_s + _LOG_EVERY_S, 0

    def _with_headers(
        self, environ: WSGIEnvironment, request: WebRequest, start_response: StartResponse
    ) -> StartResponse:
        def begin(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
            kept = [(name, value) for name, value in headers if not name.lower().startswith("access-control-")]
            given = {name.lower() for name, _ in kept}
            added = [*_HEADERS, *(_TRUSTED_HEADERS if _is_trusted(environ) else ()), (_POLICY, PAGE_POLICY)]
            if "cache-control" not in given:
                added.append(("Cache-Control", "no-store"))
            kept += [(name, value) for name, value in added if name.lower() not in given]
            if self._needs_cookie(request, kept):
                kept.append(("Set-Cookie", self._set_cookie(environ)))
            return start_response(status, kept, exc_info)

        return begin

    def _needs_cookie(self, request: WebRequest, headers: list[tuple[str, str]]) -> bool:
        """Set by every page of the application, whichever locustfile it is from."""
        is_page = any(name.lower() == "content-type" and value.startswith("text/html") for name, value in headers)
        return is_page and request.method == "GET" and request.page_token != self._allowed.token

    def _set_cookie(self, environ: WSGIEnvironment) -> str:
        secure = "; Secure" if environ.get("wsgi.url_scheme") == "https" else ""
        return f"{self._cookie}={self._allowed.token}; Path={self._path}; HttpOnly; SameSite=Strict{secure}"


def request_of(environ: WSGIEnvironment, cookie: str) -> WebRequest:
    """The headers that say where a request comes from."""

    def header(name: str) -> str:
        return str(environ.get(f"HTTP_{name}", ""))

    return WebRequest(
        method=str(environ.get("REQUEST_METHOD", "")),
        path=str(environ.get("PATH_INFO", "")),
        host=header("HOST"),
        origin=header("ORIGIN"),
        fetch_site=header("SEC_FETCH_SITE"),
        fetch_mode=header("SEC_FETCH_MODE"),
        fetch_dest=header("SEC_FETCH_DEST"),
        referer=header("REFERER"),
        user_agent=header("USER_AGENT"),
        has_cookies=bool(header("COOKIE")),
        page_token=_cookie_of(header("COOKIE"), cookie),
    )


def _cookie_of(header: str, name: str) -> str:
    """The last value of the cookie; "" where there is none."""
    for part in reversed(header.split(";")):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value
    return ""


def _is_trusted(environ: WSGIEnvironment) -> bool:
    """Whether browsers treat the connection as trustworthy."""
    host = str(environ.get("HTTP_HOST", "")).lower()
    return environ.get("wsgi.url_scheme") == "https" or host.startswith(("localhost", "127.", "[::1]"))
