"""Words of a run's command line that are no options, which Locust takes for names of user classes, and the locustfile
that it names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from locust import User

from tokenswarm.command_line import Given, OptionErrors, listed, unexpected_words
from tokenswarm.sanitize import shown

_OWN_LOCUSTFILE = Path(__file__).resolve().parents[1] / "locustfile.py"
_OWN_CLASSES = frozenset(("ChatUser", "SystemPromptChatUser"))


def check_user_classes(given: Given) -> None:
    """Of a run of Tokenswarm's own locustfile; another one may have further classes. Raises OptionErrors."""
    if _is_ours(given):
        check_stray_words(given)


def check_stray_words(given: Given) -> None:
    """Raises OptionErrors with a sentence on all words that belong to no option. A word may be the value of an unknown
    option, which has a sentence of its own."""
    words = [word for word in getattr(given.options, "user_classes", None) or () if word not in _OWN_CLASSES]
    if words and not any(error.startswith("unknown option") for error in given.errors):
        raise OptionErrors([unexpected_words(words)])


def check_named_classes(given: Given, user_classes: Sequence[type[User]]) -> None:
    """Of another locustfile, with these classes; one whose classes are not known yet has none here. Raises
    OptionErrors."""
    known = [each.__name__ for each in user_classes]
    words = [word for word in getattr(given.options, "user_classes", None) or () if word not in known]
    if (
        words
        and known
        and not _is_ours(given)
        and not any(error.startswith("unknown option") for error in given.errors)
    ):
        what = "is no option and no user class" if len(words) == 1 else "are no options and no user classes"
        raise OptionErrors(
            [f"{listed(map(repr, map(shown, words)))} {what} of the locustfile, which has {listed(sorted(known))}."]
        )


def check_locustfile(given: Given) -> None:
    """Where only options are looked at. Raises OptionErrors for a locustfile of the user's own."""
    place = given.sources.get("locustfile")
    if place and Path(given.options.locustfile).resolve() != _OWN_LOCUSTFILE:
        raise OptionErrors(
            [
                f"{place} names a locustfile, whose code decides what is sent; this describes what options say: leave "
                f"{place} out."
            ]
        )


def _is_ours(given: Given) -> bool:
    return Path(getattr(given.options, "locustfile", "")).resolve() == _OWN_LOCUSTFILE
