"""`tokenswarm web`: see run_command."""

from tokenswarm.run_command.run_command import serve as run

__all__ = ["run"]
