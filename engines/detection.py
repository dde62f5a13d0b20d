"""How an engine is recognised from its server's pages: data and small functions, which each engine's spec has.

`identify` tries the clues of all engines, the strongest first.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from tokenswarm.engines.server_pages import METRICS, MODELS, ServerPages, names_of, text_member


class Strength(IntEnum):
    """How sure a clue is, in the order in which clues are tried; those of the same strength in the table's order.

    SERVER_HEADER, OWNER: the server names its engine in the header Server, or in `owned_by` of its models. OWN_PAGE: a
    page that only this engine has. METRICS, ROUTES: names of its metrics, routes of its OpenAPI document. MODELS_SHAPE:
    the form of its list of models. GATEWAY: a gateway alone.
    """

    SERVER_HEADER = 1
    OWNER = 2
    OWN_PAGE = 3
    METRICS = 4
    ROUTES = 5
    MODELS_SHAPE = 6
    GATEWAY = 7


class Clue(NamedTuple):
    """find: evidence in the pages that the server is this engine, one clause for a person; None where there is none."""

    strength: Strength
    find: Callable[[ServerPages], str | None]


class DetectedVersion(NamedTuple):
    """version: the server's own, None where it shows none. engine: the name of the spec that speaks like this version,
    None for the one that was recognised. assumed: one clause on what had to be assumed."""

    version: str | None = None
    engine: str | None = None
    assumed: str | None = None


def no_version(_: ServerPages) -> DetectedVersion:
    """Of an engine that shows none."""
    return DetectedVersion()


def openai_models(pages: ServerPages) -> list[str]:
    """The names in a list of models like OpenAI's."""
    return names_of(pages.listed_models(), "id")


def any_length(_: ServerPages) -> None:
    """Of an engine without limits of its own for max_tokens."""


def no_gateway(_: ServerPages) -> None:
    """Of an engine that stands in front of no other."""


@dataclass(frozen=True, slots=True)
class Detection:
    """How an engine is recognised, and what its pages say of it. An engine without clues is used only where --engine
    names it, or where another's `version` does.

    models: names that requests may use. max_tokens_range: limits of max_tokens. gateway: the name under which it stands
    in front of another engine. same_server: engines that are other endpoints, or other models, of the server of this
    one.
    """

    clues: tuple[Clue, ...] = ()
    version: Callable[[ServerPages], DetectedVersion] = no_version
    models: Callable[[ServerPages], list[str]] = openai_models
    max_tokens_range: Callable[[ServerPages], tuple[int, int] | None] = any_length
    gateway: Callable[[ServerPages], str | None] = no_gateway
    same_server: frozenset[str] = frozenset()

    @property
    def is_gateway(self) -> bool:
        """Whether it may stand in front of another engine."""
        return self.gateway is not no_gateway


def server_header(value: str) -> Clue:
    """The server's header Server has this value."""

    def find(pages: ServerPages) -> str | None:
        paths = (path for path, response in pages.responses if response.headers.get("server") == value)
        path = next(paths, None)
        return None if path is None else f"GET {path}: the header Server is {value}"

    return Clue(Strength.SERVER_HEADER, find)


def owned_by(owner: str) -> Clue:
    """A model in the list of models has this owner."""

    def find(pages: ServerPages) -> str | None:
        owners = {text_member(model, "owned_by") for model in pages.listed_models()}
        return f"GET {MODELS}: the models are owned_by {owner}" if owner in owners else None

    return Clue(Strength.OWNER, find)


def metric_names(prefix: str) -> Clue:
    """The page of metrics has names with this beginning."""

    def find(pages: ServerPages) -> str | None:
        found = re.search(rf"^{re.escape(prefix)}", pages.text(METRICS), re.MULTILINE)
        return f"GET {METRICS} has names that begin with {prefix}" if found else None

    return Clue(Strength.METRICS, find)


def version_at(path: str, key: str) -> Callable[[ServerPages], DetectedVersion]:
    """The version is a text at that key of a JSON page."""
    return lambda pages: DetectedVersion(text_member(pages.json(path), key))


#: Versions of builds from a source tree that knows no release: 0.1.dev8000+gabc1234, 0.0.0, 0.0.0.dev0+unknown.
_NO_RELEASE = re.compile(r"v?0\.(?:0(?:\.0)?(?![.\d]*[1-9])|1(?:\.0)?(?=[.-]?dev|\+))", re.ASCII)


def has_no_release(version: str) -> bool:
    """Whether a version is that of a build without a release number: its number says nothing of its age."""
    return _NO_RELEASE.match(version) is not None


def is_before(version: str, major: int, minor: int) -> bool:
    """Whether a version like `0.4.2` or `v0.4` comes before major.minor. False for what is no version, and for builds
    without a release number: such builds are new."""
    match = re.match(r"v?(\d{1,9})\.(\d{1,9})", version, re.ASCII)
    return match is not None and not has_no_release(version) and (int(match[1]), int(match[2])) < (major, minor)
