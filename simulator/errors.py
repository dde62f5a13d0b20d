"""The one error of this room."""


class SimulatorError(ValueError):
    """The simulator cannot be set up as asked; the message is one sentence fit to be shown to a user."""
