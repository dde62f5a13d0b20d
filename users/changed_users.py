"""Whether Tokenswarm's users are as they are defined, whatever code of a user's own has run since."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from typing import Any

from locust import User

from tokenswarm.command_line import listed
from tokenswarm.sanitize import API_KEY_VARIABLE
from tokenswarm.users.chat import BuiltInUser, ChatUser, SystemPromptChatUser

#: What Locust sets when a run starts.
_SET_BY_LOCUST = frozenset(("host",))
#: With them, Locust divides users among classes.
_SHARES = ("weight", "fixed_count")
#: What to use in place of attributes, where that is no option of the same name.
_INSTEAD = {
    "host": "-H",
    "weight": "--system-prompt",
    "with_system_prompt": "--system-prompt",
    "fixed_count": "-u or --levels",
    "wait_time": "--think-time",
    "system_prompt": "--system-prompt-file",
    "api_key": f"the variable {API_KEY_VARIABLE}",
}


class ChangedUsersError(ValueError):
    """Users whose attributes were set by other code than Tokenswarm's; the text names them and says what to do."""


def _attributes(user_class: type[User]) -> dict[str, Any]:
    """Those that Locust and Tokenswarm give a meaning, as the class or its bases have them."""
    resolved = {name: value for base in reversed(user_class.__mro__) for name, value in vars(base).items()}
    return {name: value for name, value in resolved.items() if _counts(name)}


def _counts(name: str) -> bool:
    return name == "__init__" or not name.startswith("__")


#: A list such as `tasks` is copied, as it may be changed in place.
_ORIGINAL = {
    user_class: {
        name: list(value) if isinstance(value, list) else value for name, value in _attributes(user_class).items()
    }
    for user_class in (ChatUser, SystemPromptChatUser)
}


def check_unchanged(options: Namespace, own: Sequence[str] = (), *, run_started: bool = False) -> None:
    """Whether the users are as Tokenswarm defines them: with another wait_time, for instance, the load would not be
    what the results say, and a name that no user reads (`max_tokens`) would have no effect. options: of the command
    line, for the advice; own: names of the locustfile's own classes that run too; run_started: whether Locust has set
    what it sets at a run's start. Raises ChangedUsersError."""
    changed = {
        f"{user_class.__name__}.{name}": name
        for user_class, original in _ORIGINAL.items()
        for name in _changed(user_class, original)
        if not (run_started and name in _SET_BY_LOCUST)
    }
    if changed:
        where = "the locustfile or --config-users" if vars(options).get("config_users") else "the locustfile"
        raise ChangedUsersError(
            f"{where} sets {', '.join(changed)}. Tokenswarm's users cannot be changed by code. Leave this out. "
            f"{' '.join(_advice(list(dict.fromkeys(changed.values())), options, own))}"
        )


def _changed(user_class: type[User], original: dict[str, Any]) -> list[str]:
    now = _attributes(user_class)
    missing = object()
    changed = [name for name, value in original.items() if now.get(name, missing) != value]
    # Of the bases that are Locust's, new names are no business of a run's.
    ours = [base for base in user_class.__mro__ if issubclass(base, BuiltInUser)]
    new = {name: None for base in ours for name in vars(base) if _counts(name) and name not in original}
    return [*changed, *new]


def _advice(names: list[str], options: Namespace, own: Sequence[str]) -> Iterator[str]:
    """What to use in place of these attributes. own: names of the locustfile's own classes."""
    if own and (shares := [name for name in names if name in _SHARES]):
        yield (
            f"Set {' and '.join(shares)} of {listed(own)} instead: Tokenswarm's users have a weight of 1, and get "
            "their share of the users that fixed counts leave; weights below 1 are possible."
        )
        if shares == names:
            return
        names = [name for name in names if name not in shares]
    instead = {name: option for name in names if (option := _option_for(name, options))}
    if not instead:
        yield "Users and load are set by options (docs/options.md)."
    elif len(names) == 1:
        yield f"Use {instead[names[0]]} instead{f' of {names[0]}' if own else ''}."
    else:
        yield f"Use {', '.join(f'{option} instead of {name}' for name, option in instead.items())}."


def _option_for(name: str, options: Namespace) -> str:
    """The option that does what an attribute of this name seems to be set for, "" for none."""
    if name in _INSTEAD:
        return _INSTEAD[name]
    return f"--{name.replace('_', '-')}" if name in vars(options) else ""
