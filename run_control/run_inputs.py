"""The options that a run follows, as they were when it was planned: code of a user's own may change them later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from locust.env import Environment

from tokenswarm.run_control.run_plan import run_options

#: Of Locust's own options, those that a plan follows.
_LOCUSTS = {"num_users": "--users", "spawn_rate": "--spawn-rate", "run_time": "--run-time"}


class ChangedOptionsError(ValueError):
    """Options that changed after they were checked; the text names them and says what to do."""


@dataclass(frozen=True, slots=True)
class RunInputs:
    """values: by the option as it is given, its value as text, as lists may be changed in place. given: by attribute of
    Locust's options, the values themselves; host: of Locust's environment."""

    values: Mapping[str, str]
    given: Mapping[str, Any]
    host: str | None

    @classmethod
    def of(cls, environment: Environment, defaults: Mapping[str, Any]) -> RunInputs:
        """As they are now. defaults: of all options of the command line."""
        options = environment.parsed_options
        assert options is not None
        own, _ = run_options(options, defaults)
        values = {f"--{name.replace('_', '-')}": value for name, value in own.items()}
        values |= {flag: getattr(options, name, None) for name, flag in _LOCUSTS.items()}
        texts = {flag: repr(value) for flag, value in (values | {"--host": environment.host}).items()}
        given = {name: list(value) if isinstance(value, list) else value for name, value in vars(options).items()}
        return cls(texts, given, environment.host)

    def check(self, environment: Environment, defaults: Mapping[str, Any]) -> None:
        """Raises ChangedOptionsError where they are others now, and puts them back: what was refused must not be what
        the next start begins with."""
        now = RunInputs.of(environment, defaults).values
        if changed := [flag for flag, value in self.values.items() if now.get(flag) != value]:
            self._put_back(environment)
            raise ChangedOptionsError(
                f"the locustfile changes {' and '.join(changed)} after the run was planned, so the run would not "
                f"follow {'it' if len(changed) == 1 else 'them'}. Leave this out, and start the run with the values "
                "that you want."
            )

    def _put_back(self, environment: Environment) -> None:
        environment.host = self.host
        for name, value in self.given.items():
            setattr(environment.parsed_options, name, list(value) if isinstance(value, list) else value)
