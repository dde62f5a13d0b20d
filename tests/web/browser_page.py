"""Our page in a real browser without a server: its own files, and answers of a test's."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, Route, expect

from tokenswarm.web.routes import STATIC
from tokenswarm.web.security import PAGE_POLICY

ADDRESS = "http://tokenswarm.example/tokenswarm/"
_TYPES = {"js": "text/javascript", "css": "text/css", "html": "text/html"}
_PATIENCE_MS = 60_000
#: Before any run.
IDLE = {"state": "ready", "refusal": None, "run": None, "levels": None}
_EMPTY: dict[str, Any] = {
    "live.json": IDLE,
    "form.json": [],
    "presets.json": [],
    "plan.json": {"plan": "", "errors": []},
    "runs.json": [],
}


class BrowserPage:
    """answers: what each path below the page's is answered with, JSON or HTML, and may be changed; asked: what was
    requested, with queries; wrong: errors of scripts and of the console."""

    def __init__(self, browser: Browser, answers: dict[str, Any], **context: Any) -> None:
        self.answers = _EMPTY | answers
        self.asked: list[str] = []
        self.wrong: list[str] = []
        self.page: Page = browser.new_page(**context)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", lambda said: self.wrong.append(said.text) if said.type == "error" else None)
        self.page.route("**/*", self._answer)
        self.page.goto(ADDRESS)
        expect(self.page.locator("#state")).not_to_have_text("…", timeout=_PATIENCE_MS)

    def _answer(self, route: Route) -> None:
        parts = urlsplit(route.request.url)
        path = parts.path.removeprefix("/tokenswarm/")
        self.asked.append(f"{path}?{parts.query}" if parts.query else path)
        if path.startswith("assets/") or path == "":
            file = STATIC / (path.removeprefix("assets/") or "page.html")
            headers = {"Content-Security-Policy": PAGE_POLICY}
            route.fulfill(body=file.read_bytes(), content_type=_TYPES[file.suffix[1:]], headers=headers)
        elif path in self.answers:
            answer = self.answers[path]
            is_page = isinstance(answer, str)
            kind = "text/html" if is_page else "application/json"
            route.fulfill(body=answer if is_page else json.dumps(answer), content_type=kind)
        else:
            route.fulfill(status=204)
