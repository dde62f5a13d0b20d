"""The plan and the options of a run, as the recorder knows them."""

from __future__ import annotations

from argparse import Namespace
from math import isinf
from typing import Any

from locust.argument_parser import default_args_dict

import shapes.options
import users.options
from metrics.stage import Stage
from page.options import is_web_option
from shapes.plan import Level


def stage_of(level: Level) -> Stage:
    """The shape's level as the recorder knows it."""
    level_time_s = None if isinf(level.level_time_s) else level.level_time_s
    return Stage(level.stage, level.system_prompt, str(level.users), level.users, level.ramp_s, level_time_s)


def plan_of(options: Namespace) -> list[Stage]:
    """The plan that the options make. Raises PlanError, OptionErrors."""
    return [stage_of(level) for level in shapes.options.plan_of(options)]


def modes_of(options: Namespace) -> set[str]:
    """The plan's system-prompt modes. Raises PlanError, OptionErrors."""
    return {stage.system_prompt for stage in plan_of(options)}


def run_options(options: Namespace) -> dict[str, Any]:
    """Tokenswarm's options as they stand, for run.json."""
    others = {*default_args_dict(), users.options.KEY_SERVERS, users.options.USERS_OF_WORKER}
    return {name: value for name, value in vars(options).items() if name not in others and not is_web_option(name)}
