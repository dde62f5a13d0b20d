"""Words of a run's command line that are no options, which Locust takes for names of user classes, and the locustfile
that it names."""

from __future__ import annotations

from pathlib import Path

from tokenswarm.command_line import Given, OptionErrors, unexpected_words

_OWN_LOCUSTFILE = Path(__file__).resolve().parents[1] / "locustfile.py"
_OWN_CLASSES = frozenset(("ChatUser", "SystemPromptChatUser"))


def check_user_classes(given: Given) -> None:
    """Of a run of Tokenswarm's own locustfile; another one may have further classes. Raises OptionErrors."""
    if Path(getattr(given.options, "locustfile", "")).resolve() == _OWN_LOCUSTFILE:
        check_stray_words(given)


def check_stray_words(given: Given) -> None:
    """Raises OptionErrors with a sentence on all words that belong to no option. A word may be the value of an unknown
    option, which has a sentence of its own."""
    words = [word for word in getattr(given.options, "user_classes", None) or () if word not in _OWN_CLASSES]
    if words and not any(error.startswith("unknown option") for error in given.errors):
        raise OptionErrors([unexpected_words(words)])


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
