"""Which file of the checkout goes where in a wheel: pyproject.toml's `hooks.custom.files`, for wheels alone.

An editable install is a path to the checkout; copies of its files beside that would be found first.
"""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WheelFiles(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the files to a wheel that is no editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """`version` is "standard" or "editable"; paths are relative to the project's root."""
        if version == "standard":
            build_data["force_include"].update(self.config["files"])
