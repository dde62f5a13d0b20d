"""Options and the user classes or the shape of a locustfile's own: which have no effect, and which follow from them."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from locust import User
from locust.env import Environment
from locust.runners import WorkerRunner

from tokenswarm.client.server_address import base_url, hosts_of, take_route
from tokenswarm.command_line import OptionErrors
from tokenswarm.recording.prompt_notices import OWN_REUSE
from tokenswarm.shapes.capacity_options import CAPACITY
from tokenswarm.shapes.plan import OWN_SHAPE, OWN_USERS, SHAPE_READS_USERS
from tokenswarm.shapes.rate_options import OPEN
from tokenswarm.users.chat import BuiltInUser
from tokenswarm.users.streaming_user import StreamingUser

logger = logging.getLogger(__name__)

#: Of Tokenswarm's own users.
_OF_DEFAULT_USERS = (
    *("prompts", "prompts_column", "prompt_tokens", "prompt_reuse", "prompt_nonce", "prefix", "input_tokens"),
    *("output_tokens", "turns", "answers", "longest_delay", "session_supply", "session_header", "image"),
    *("system_prompt", "system_prompt_file", "think_time", "random_start", "wait_after_failure", "honour_retry_after"),
)
#: Of Tokenswarm's own shapes.
_OF_DEFAULT_SHAPES = (
    *("shape", "levels", "ramp", "level_time", "warm_up", "find_capacity", "between", "precision"),
    *("rate", "session_rate", "arrivals", "rate_schedule", "max_in_flight", "trace"),
)
#: Locust's, which a shape may read; it then has `use_common_options = True`, as Locust documents.
_READ_BY_SHAPES = ("num_users", "spawn_rate")
_FLAGS = {"num_users": "--users"}


class NoStreamingUsersError(ValueError):
    """Users of a locustfile none of which Tokenswarm measures; the text says what to do."""


class OwnHostError(ValueError):
    """Hosts of a locustfile's users that one run cannot have; the text says what to do."""


def changed_for_shapes(options: Namespace, before: Namespace) -> set[str]:
    """Options of Tokenswarm's own shapes that a form has changed, by name; but for `shape`, which the page itself sets
    to what the others select."""
    return {name for name in _OF_DEFAULT_SHAPES if name != "shape" and getattr(options, name) != getattr(before, name)}


def check_own_options(options: Namespace, defaults: Mapping[str, Any], given: Collection[str]) -> None:
    """defaults: of all options; given: names of those on the command line, in the environment, in a file or changed in
    a form. Raises OptionErrors."""
    sentences = [*_of_users(options, defaults, given), *_of_shape(options, given), *_of_open_loop(options)]
    if sentences:
        raise OptionErrors(sentences)


def check_streaming_users(user_classes: Sequence[type[User]]) -> None:
    """Raises NoStreamingUsersError where no user that runs can send what Tokenswarm measures."""
    running = [each for each in user_classes if each.weight or each.fixed_count]
    if running and not any(issubclass(each, StreamingUser | BuiltInUser) for each in running):
        names = _and(sorted(each.__name__ for each in running))
        raise NoStreamingUsersError(
            f"no user class that runs is derived from tokenswarm.StreamingUser, and nothing that {names} would send is "
            "recorded: derive one from it (docs/python-api.md), or import nothing from tokenswarm."
        )


def take_own_host(environment: Environment) -> None:
    """Without --host, send where the locustfile's users say. Raises OwnHostError, UnusableUrl."""
    options = environment.parsed_options
    if options is None:
        return
    running = [each for each in environment.user_classes if each.host and (each.weight or each.fixed_count)]
    if given := environment.host:
        replaced = sorted({each.host or "" for each in running} - set(hosts_of(given)) - {given})
        if replaced and not isinstance(environment.runner, WorkerRunner):
            logger.warning("--host replaces the host %s of the locustfile's users for all of them", _and(replaced))
        return
    own = {each.host for each in environment.user_classes if issubclass(each, StreamingUser) and each.host}
    elsewhere = [each for each in running if not issubclass(each, StreamingUser | BuiltInUser) and {each.host} != own]
    if elsewhere:
        raise OwnHostError(_elsewhere(own, elsewhere))
    if not own:
        return
    if len(own) > 1:
        raise OwnHostError(
            f"the users of the locustfile have different hosts ({_and(sorted(own))}), and a run has one server: set "
            "one host, or give --host."
        )
    (host,) = own
    take_route(options, host)
    environment.host = options.host = base_url(host)


def _elsewhere(own: Collection[str], elsewhere: Sequence[type[User]]) -> str:
    """own: hosts of streaming users; elsewhere: users that Tokenswarm does not measure, which have another."""
    names, hosts = _and([each.__name__ for each in elsewhere]), _and(sorted({each.host or "" for each in elsewhere}))
    server = _and(sorted(own)) if own else "the embedded simulator, as no user that Tokenswarm measures has a host"
    return (
        f"a run of Tokenswarm sends all users to one host, here {server}, so that {names} would not reach {hosts}: "
        "leave that host out and write whole addresses in the calls of self.client."
    )


def prompts_of_own_code(own_code: Mapping[str, Any]) -> dict[str, Any]:
    """What run.json says of the prompts of users that send their own. own_code: its facts."""
    return {
        "source": f"{_and(own_code['users'])} of {Path(own_code['locustfile']).name}",
        "reuse": OWN_REUSE,
        "fingerprint": own_code["sha256"],
    }


def _of_users(options: Namespace, defaults: Mapping[str, Any], given: Collection[str]) -> Iterator[str]:
    """An option that is given with its default is refused like any other value of it."""
    users: Sequence[str] = getattr(options, OWN_USERS, ())
    if not users:
        return
    idle = [_flag(name) for name in _OF_DEFAULT_USERS if name in given or getattr(options, name) != defaults[name]]
    if options.cache == "bust":
        idle.append("--cache bust")
    if idle:
        it = "it" if len(idle) == 1 else "them"
        yield (
            f"{_and(idle)} {'has' if len(idle) == 1 else 'have'} no effect on {_and(users)} of the locustfile, "
            f"whose code says what is sent and when: leave {it} out."
        )


def _of_shape(options: Namespace, given: Collection[str]) -> Iterator[str]:
    shape = getattr(options, OWN_SHAPE, "")
    read = () if getattr(options, SHAPE_READS_USERS, False) else _READ_BY_SHAPES
    idle = [_flag(name) for name in (*_OF_DEFAULT_SHAPES, *read) if shape and name in given]
    if idle:
        yield (
            f"{_and(idle)} {'has' if len(idle) == 1 else 'have'} no effect beside the shape {shape} of the locustfile, "
            f"which sets the number of users: leave {'it' if len(idle) == 1 else 'them'} out, or the shape."
        )


def _of_open_loop(options: Namespace) -> Iterator[str]:
    users: Sequence[str] = getattr(options, OWN_USERS, ())
    is_open = options.shape == OPEN or (options.shape == CAPACITY and options.find_capacity == "rate")
    if users and is_open:
        yield (
            f"an open loop sends the requests of Tokenswarm's own users, and {_and(users)} of the locustfile "
            "would send none: leave out --rate and what else selects it, and set users with --levels, or with -u, -r "
            "and -t."
        )


def _flag(name: str) -> str:
    return _FLAGS.get(name, f"--{name.replace('_', '-')}")


def _and(words: Sequence[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
