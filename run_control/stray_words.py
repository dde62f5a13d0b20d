"""Words of a run's command line that are no options: Locust takes them for names of user classes."""

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
