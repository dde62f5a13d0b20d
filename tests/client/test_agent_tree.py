"""The agents of a session: what is due when, on times that can be added up in the head."""

from __future__ import annotations

from msgspec.structs import replace

from tokenswarm.client.agent_tree import AgentTree, DueRequest
from tokenswarm.client.chat_session import ChatSession, DrawnPrompt
from tokenswarm.metrics.timeline import Outcome, RequestLoad, SessionPlace, Timeline
from tokenswarm.prompts import Prompt, SessionTurn, SubAgent

S = 1_000_000_000


def turn(text: str, delay_s: float | None = None, agents: tuple[SubAgent, ...] = ()) -> SessionTurn:
    return SessionTurn(text, 1, delay_s=delay_s, agents=agents)


#: The two work beside each other; the second one has a sub-agent of its own.
DEEPEST = SubAgent((turn("deepest", 0.5),), "z")
FIRST = SubAgent((turn("x1", 1.0), turn("x2", 2.0)), "x")
SECOND = SubAgent((turn("y1", 1.5, (DEEPEST,)), turn("y2", 0.25)), "y")
ROOT = Prompt("r1", 1, id="1", agents=(FIRST, SECOND), turns=(turn("r2", 3.0), turn("r3")))


def session_of(prompt: Prompt, place: SessionPlace) -> ChatSession:
    def open_agent(agent: SubAgent, of_agent: SessionPlace) -> ChatSession:
        first, *others = agent.turns
        return session_of(replace(prompt, text=first.text, turns=tuple(others), agents=first.agents), of_agent)

    return ChatSession(DrawnPrompt(prompt, place=place), 1 + len(prompt.turns), open_agent=open_agent)


class Played:
    """A session whose requests each take as long as a table says, in the order in which they end."""

    def __init__(self, root: Prompt, took_s: dict[str, float], outcomes: dict[str, Outcome] | None = None) -> None:
        self.sent: list[tuple[str, str, int, float]] = []  # text, agent, depth, when
        self.joins_s: dict[str, float] = {}
        self.thinks_s: dict[str, float] = {}
        self.tree = AgentTree(session_of(root, SessionPlace("s", 1, 3, "main", 0, 8)), lambda _: lambda: 10.0)
        self._took_s, self._outcomes = took_s, outcomes or {}
        waiting = [self.tree.begin(0, RequestLoad())]
        running: list[tuple[int, DueRequest]] = []
        while waiting or running:
            now_ns = min([due.due_ns for due in waiting] + [end_ns for end_ns, _ in running])
            for due in [due for due in waiting if due.due_ns == now_ns]:
                waiting.remove(due)
                running.append((now_ns + self._send(due), due))
            for end_ns, due in [each for each in running if each[0] == now_ns]:
                running.remove((end_ns, due))
                waiting += self._end(due, end_ns)

    def _send(self, due: DueRequest) -> int:
        session = due.agent.session
        text = session.next().prompt.text
        self.sent.append((text, session.place.agent, session.place.depth, due.due_ns / S))
        if due.load.join_ns is not None:
            self.joins_s[text] = due.load.join_ns / S
        if due.load.think_ns is not None:
            self.thinks_s[text] = due.load.think_ns / S
        return round(self._took_s[text] * S)

    def _end(self, due: DueRequest, end_ns: int) -> list[DueRequest]:
        session = due.agent.session
        outcome = self._outcomes.pop(session.next().prompt.text, Outcome.OK)
        timeline = Timeline("u", 0, outcome, 0, 0, end_ns, output_tokens=1)
        session.ended(timeline, "")
        return self.tree.ended(due.agent, timeline, 5 * S)


TOOK_S = {"r1": 1.0, "x1": 1.0, "x2": 1.0, "y1": 2.0, "deepest": 4.0, "y2": 1.0, "r2": 1.0, "r3": 1.0}


def test_sub_agents_begin_behind_a_request_and_end_before_the_next_one() -> None:
    played = Played(ROOT, TOOK_S)
    assert played.sent == [
        ("r1", "main", 0, 0.0),
        ("x1", "main.1", 1, 2.0),  # a second behind the end of r1
        ("y1", "main.2", 1, 2.5),  # beside x1
        ("x2", "main.1", 1, 5.0),
        ("deepest", "main.2.1", 2, 5.0),
        ("y2", "main.2", 1, 9.25),  # the deepest ends at 9 s
        ("r2", "main", 0, 13.25),  # y2 ends at 10.25 s
        ("r3", "main", 0, 24.25),  # no delay is recorded: the user's own think time
    ]
    assert played.joins_s == {"y2": 4.5, "r2": 9.25}
    assert played.thinks_s == {"x1": 1.0, "y1": 1.5, "deepest": 0.5, "x2": 2.0, "y2": 0.25, "r2": 3.0, "r3": 10.0}
    assert played.tree.failure is None


def test_a_request_that_fails_ends_the_session_but_for_what_is_under_way() -> None:
    played = Played(ROOT, TOOK_S, {"x1": Outcome.HTTP_ERROR})
    assert [text for text, *_ in played.sent] == ["r1", "x1", "y1"]
    assert played.tree.failure is not None
    assert played.tree.failure.outcome is Outcome.HTTP_ERROR


def test_a_request_that_a_limit_refused_is_sent_again() -> None:
    played = Played(ROOT, TOOK_S, {"x1": Outcome.REFUSED_BY_LIMIT})
    assert [(text, when_s) for text, _, _, when_s in played.sent if text == "x1"] == [("x1", 2.0), ("x1", 8.0)]
    assert played.sent[-1][0] == "r3"


def test_sub_agents_behind_the_last_request_of_an_agent_are_joined_too() -> None:
    last = SubAgent((turn("y1", 0.0, (DEEPEST,)),))
    played = Played(Prompt("r1", 1, agents=(last,), turns=(turn("r2", 0.0),)), TOOK_S)
    assert played.sent[-1] == ("r2", "main", 0, 7.5)
    assert played.joins_s == {"r2": 6.5}


def test_nothing_is_due_once_the_load_has_ended() -> None:
    tree = AgentTree(session_of(ROOT, SessionPlace("s", 1, 3, "main", 0, 8)))
    due = tree.begin(0, RequestLoad())
    tree.stop()
    timeline = Timeline("u", 0, Outcome.OK, 0, 0, S, output_tokens=1)
    due.agent.session.ended(timeline, "")
    assert tree.ended(due.agent, timeline) == []
