"""Engines of other packages and of locustfiles, beside those of engine_table.py."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint, entry_points

from tokenswarm.engines.engine_spec import EngineSpec
from tokenswarm.engines.engine_table import ENGINES, SHIPPED
from tokenswarm.engines.errors import EngineError

#: Entry points of other packages; each is an EngineSpec.
GROUP = "tokenswarm.engines"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}", re.ASCII)
#: "auto" is the --engine that is detected.
_TAKEN = frozenset((*SHIPPED, "auto"))
_found: list[str] = []


def register_engine(spec: EngineSpec) -> EngineSpec:
    """Have --engine take the name of this engine, and detect its servers by its clues. Called while a locustfile is
    loaded, on each machine of a run. Returns the spec. Raises EngineError for a name that is taken."""
    if not isinstance(spec, EngineSpec):
        raise EngineError(f"register_engine takes an EngineSpec, got {type(spec).__name__}.")
    if not _NAME.fullmatch(spec.name):
        raise EngineError(
            f"the name of an engine has up to 40 small letters, digits, dots and dashes, got {spec.name!r}."
        )
    if spec.name in _TAKEN:
        raise EngineError(f"there is an engine {spec.name} already: give yours another name.")
    ENGINES[spec.name] = spec
    return spec


def load_engines_of_packages() -> list[str]:
    """Register the engines that installed packages have under the entry point group, once in a process. Returns a
    sentence for each that cannot be used."""
    if not _found:
        points = entry_points(group=GROUP)
        _found.extend(("", *filter(None, map(_load, sorted(points, key=lambda point: point.name)))))
    return _found[1:]


def _load(point: EntryPoint) -> str:
    """ "" where it could be registered."""
    package = point.dist.name if point.dist is not None else point.value
    try:
        spec = point.load()
        if isinstance(spec, EngineSpec) and ENGINES.get(spec.name) is spec:
            return ""
        register_engine(spec)
    except Exception as error:  # it is code of others
        return f"the engine {point.name} of the package {package} cannot be used: {type(error).__name__}: {error}"
    return ""
