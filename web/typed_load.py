"""Which shape a start form means. Locust's own form has a number of users and a spawn rate in its first line, and the
shape and the ladder's levels further down: users that are typed there are meant."""

from __future__ import annotations

from collections.abc import Mapping

from tokenswarm.web.start_form import FormError

#: Fields that one shape only uses; the same as the form of our own page shows with it.
_COUNTS_WITH = {
    "free": ("user_count", "spawn_rate", "run_time"),
    "ladder": ("levels", "ramp"),
    "capacity": ("find_capacity", "between", "precision"),
    "open": ("rate", "session_rate", "rate_schedule", "arrivals", "trace", "max_in_flight"),
}
#: The ladder and an open loop have it.
_LEVEL_TIME = "level_time"
_OPTIONS = {"user_count": "users", "spawn_rate": "spawn-rate"}


class ShownValues:
    """What forms have shown of each field since the process began. A form that was opened before the last run still
    holds what was shown then, and nobody has changed it."""

    def __init__(self) -> None:
        self._values: dict[str, set[str]] = {}

    def note(self, shown: Mapping[str, str]) -> None:
        """Remember values that are shown now."""
        for name, value in shown.items():
            self._values.setdefault(name, set()).add(value)

    def has(self, name: str, value: str) -> bool:
        """Whether a form has shown this value in this field."""
        return any(_same(value, known) for known in self._values.get(name, {""}))


def shape_meant(form: Mapping[str, str], shown: Mapping[str, str], ever_shown: ShownValues | None = None) -> str:
    """The shape to run. form: fields as they were sent; shown: as a form that is drawn now has them; ever_shown: what
    other forms that are still open may have.

    A shape that was chosen is taken. Where it was left as it was, fields that were changed and count with another
    shape only select that one. Raises FormError where fields of two were changed.
    """
    known = ever_shown or ShownValues()
    known.note(shown)
    shape = form.get("shape", shown["shape"])
    if shape != shown["shape"] or shape not in _COUNTS_WITH:
        return shape
    changed = {
        kind: [name for name in names if name in form and not known.has(name, form[name])]
        for kind, names in _COUNTS_WITH.items()
    }
    has_level_time = _LEVEL_TIME in form and not known.has(_LEVEL_TIME, form[_LEVEL_TIME])
    return _selected(changed, has_level_time, shape, "changed")


def shape_named(form: Mapping[str, str], shape: str) -> str:
    """The shape to run where a program sent the form, which names only what it means: each field counts by itself,
    whatever earlier runs had. form: as for `shape_meant`; shape: of the run before. Raises FormError where fields of
    two shapes are given and no shape."""
    if form.get("shape"):
        return form["shape"]
    named = {kind: [name for name in names if form.get(name, "").strip()] for kind, names in _COUNTS_WITH.items()}
    return _selected(named, bool(form.get(_LEVEL_TIME)), shape, "given")


def _selected(fields: dict[str, list[str]], has_level_time: bool, shape: str, verb: str) -> str:
    """The shape that fields select, by the shape that each counts with; `shape` where there are none. Raises
    FormError."""
    chosen = [kind for kind, names in fields.items() if names]
    if has_level_time and chosen in ([], ["free"]):
        levels = "ladder" if chosen or shape == "free" else shape
        fields = {**fields, levels: [_LEVEL_TIME]}
        chosen = [*chosen, levels]
    if len(chosen) > 1:
        both = " and ".join(_option(fields[kind][0]) for kind in chosen[:2])
        shapes = " or ".join(chosen[:2])
        raise FormError(f"{both} were both {verb}, and only one of them can count: choose --shape {shapes}.")
    return next(iter(chosen), shape)


def _same(sent: str, shown: str) -> bool:
    """Whether two texts say the same: `1` and `1.0` do, and `20` and `20s`."""
    try:
        return float(sent.strip().removesuffix("s")) == float(shown.strip().removesuffix("s"))
    except ValueError:
        return sent.strip() == shown.strip()


def _option(name: str) -> str:
    return f"--{_OPTIONS.get(name, name.replace('_', '-'))}"
