"""The models and servers that a run's requests are spread over."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec


class MixMember(msgspec.Struct, frozen=True):
    """A model or a host of a run. share: of the requests, 0 to 1, as requested; None where none is."""

    name: str
    share: float | None = None


def name_at(members: Sequence[MixMember], index: int) -> str:
    """The name of the member at this place; "" where the run does not name its members."""
    return members[index].name if index < len(members) else ""


class RunMix(msgspec.Struct, frozen=True):
    """All models and hosts of a run, in the order in which its requests count them; one of each in most runs, none in
    folders of older versions."""

    models: tuple[MixMember, ...] = ()
    hosts: tuple[MixMember, ...] = ()

    def renamed(self, name_of: Callable[[str], str]) -> RunMix:
        """The same with other names."""
        return RunMix(
            *(
                tuple(MixMember(name_of(member.name), member.share) for member in members)
                for members in (self.models, self.hosts)
            )
        )


NO_MIX = RunMix()
