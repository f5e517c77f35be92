"""h11's roles, states and transition tables: the joint life of one exchange on an HTTP/1.1 connection.

Each role has a state. Events move the role that sent them; facts about the connection (it will not persist, a switch
of protocol is proposed, the other role has gone) then move states on until nothing changes. Bytes are not known here.

A sentinel is a class that is its own type, so that ``type(NEED_DATA) is NEED_DATA`` and a bare name serves as a
value, a dictionary key and a readable repr.
"""

from __future__ import annotations

from typing import Any

from gruvihttp.errors import LocalProtocolError
from gruvihttp.sansio.events import (
    ConnectionClosed,
    Data,
    EndOfMessage,
    InformationalResponse,
    Request,
    Response,
)
from gruvihttp.sansio.sentinels import Sentinel

__all__ = [
    "CLIENT",
    "CLOSED",
    "DONE",
    "ERROR",
    "IDLE",
    "MIGHT_SWITCH_PROTOCOL",
    "MUST_CLOSE",
    "SEND_BODY",
    "SEND_RESPONSE",
    "SERVER",
    "SWITCHED_PROTOCOL",
    "Cycle",
]


class CLIENT(Sentinel, metaclass=Sentinel):
    """The role that sends requests."""


class SERVER(Sentinel, metaclass=Sentinel):
    """The role that sends responses."""


class IDLE(Sentinel, metaclass=Sentinel):
    """Between two exchanges."""


class SEND_RESPONSE(Sentinel, metaclass=Sentinel):
    """The server has a request and owes a response."""


class SEND_BODY(Sentinel, metaclass=Sentinel):
    """The head is sent, the message has not ended."""


class DONE(Sentinel, metaclass=Sentinel):
    """The message has ended; a next exchange may follow."""


class MUST_CLOSE(Sentinel, metaclass=Sentinel):
    """The message has ended, and nothing but the end of the connection may follow."""


class CLOSED(Sentinel, metaclass=Sentinel):
    """This role has ended its half of the connection."""


class ERROR(Sentinel, metaclass=Sentinel):
    """This role broke the protocol, or a send of ours failed half way."""


class MIGHT_SWITCH_PROTOCOL(Sentinel, metaclass=Sentinel):
    """The client has proposed another protocol and waits for the answer."""


class SWITCHED_PROTOCOL(Sentinel, metaclass=Sentinel):
    """From here on the bytes are not HTTP."""


class SWITCH_UPGRADE(Sentinel, metaclass=Sentinel):
    """Proposal: the Upgrade field (RFC 9110 §7.8)."""


class SWITCH_CONNECT(Sentinel, metaclass=Sentinel):
    """Proposal: the CONNECT method (RFC 9110 §9.3.6)."""


State = type[Sentinel]
Role = type[Sentinel]
# What happened, as the tables know it: an event's class, or, for a role that reacts to the other's event, a pair.
Trigger = Any

_CLIENT_EVENTS: dict[State, dict[Trigger, State]] = {
    IDLE: {Request: SEND_BODY, ConnectionClosed: CLOSED},
    SEND_BODY: {Data: SEND_BODY, EndOfMessage: DONE},
    DONE: {ConnectionClosed: CLOSED},
    MUST_CLOSE: {ConnectionClosed: CLOSED},
    CLOSED: {ConnectionClosed: CLOSED},
    MIGHT_SWITCH_PROTOCOL: {},
    SWITCHED_PROTOCOL: {},
    ERROR: {},
}

_SERVER_EVENTS: dict[State, dict[Trigger, State]] = {
    IDLE: {ConnectionClosed: CLOSED, Response: SEND_BODY, (Request, CLIENT): SEND_RESPONSE},
    SEND_RESPONSE: {
        InformationalResponse: SEND_RESPONSE,
        Response: SEND_BODY,
        (InformationalResponse, SWITCH_UPGRADE): SWITCHED_PROTOCOL,
        (Response, SWITCH_CONNECT): SWITCHED_PROTOCOL,
    },
    SEND_BODY: {Data: SEND_BODY, EndOfMessage: DONE},
    DONE: {ConnectionClosed: CLOSED},
    MUST_CLOSE: {ConnectionClosed: CLOSED},
    CLOSED: {ConnectionClosed: CLOSED},
    SWITCHED_PROTOCOL: {},
    ERROR: {},
}

_EVENTS: dict[Role, dict[State, dict[Trigger, State]]] = {CLIENT: _CLIENT_EVENTS, SERVER: _SERVER_EVENTS}

# What one role's state means for the other's: (client, server) -> (client, server)
_JOINT: dict[tuple[State, State], tuple[State, State]] = {
    (MIGHT_SWITCH_PROTOCOL, SWITCHED_PROTOCOL): (SWITCHED_PROTOCOL, SWITCHED_PROTOCOL),
    (CLOSED, DONE): (CLOSED, MUST_CLOSE),
    (CLOSED, IDLE): (CLOSED, MUST_CLOSE),
    (ERROR, DONE): (ERROR, MUST_CLOSE),
    (DONE, CLOSED): (MUST_CLOSE, CLOSED),
    (IDLE, CLOSED): (MUST_CLOSE, CLOSED),
    (DONE, ERROR): (MUST_CLOSE, ERROR),
}

_NO_PROPOSALS: frozenset[State] = frozenset()


# One moment of an exchange: both states, whether the connection persists, which switches are proposed
_Joint = tuple[State, State, bool, frozenset[State]]


class Cycle:
    """The joint state of one exchange: both roles' states, and what was said about the connection's future."""

    __slots__ = ("_joint",)

    def __init__(self) -> None:
        self._joint: _Joint = _FRESH

    def __repr__(self) -> str:
        client, server, keep_alive, _ = self._joint
        return f"Cycle(client={client!r}, server={server!r}, keep_alive={keep_alive})"

    @property
    def client(self) -> State:
        """The client's state."""
        return self._joint[0]

    @property
    def server(self) -> State:
        """The server's state."""
        return self._joint[1]

    @property
    def keep_alive(self) -> bool:
        """Whether another exchange may follow."""
        return self._joint[2]

    def state_of(self, role: Role) -> State:
        """The state of `role`."""
        return self._joint[0] if role is CLIENT else self._joint[1]

    def disable_keep_alive(self) -> None:
        """This exchange is the last one on its connection."""
        client, server, _, proposals = self._joint
        self._joint = _settled(client, server, False, proposals)

    def propose_switch(self, proposal: State) -> None:
        """The client's request asks for another protocol, by SWITCH_UPGRADE or SWITCH_CONNECT."""
        client, server, keep_alive, proposals = self._joint
        self._joint = _settled(client, server, keep_alive, proposals | {proposal})

    def fail(self, role: Role) -> None:
        """`role` broke the protocol; nothing leads out of that."""
        client, server, keep_alive, proposals = self._joint
        if role is CLIENT:
            client = ERROR
        else:
            server = ERROR
        self._joint = _settled(client, server, keep_alive, proposals)

    def process(self, role: Role, event_type: type, accepted_switch: State | None = None) -> None:
        """Move on for an event that `role` sent.

        `accepted_switch` is the proposal which this event of the server accepts.

        Raises LocalProtocolError if the event is not possible now; nothing has changed then.
        """
        key = (self._joint, role, event_type, accepted_switch)
        joint = _known_steps.get(key)
        if joint is None:
            joint = _known_steps[key] = _after(*key)
        self._joint = joint

    def start_next(self) -> None:
        """Begin the next exchange. Raises LocalProtocolError unless both roles are DONE; nothing has changed then."""
        client, server, keep_alive, proposals = self._joint
        if client is not DONE or server is not DONE:
            raise LocalProtocolError(f"not in a reusable state: {self!r}")
        self._joint = (IDLE, IDLE, keep_alive, proposals)


def _after(joint: _Joint, role: Role, event_type: type, accepted_switch: State | None) -> _Joint:
    client, server, keep_alive, proposals = joint
    trigger: Trigger = event_type
    if accepted_switch is not None:
        if accepted_switch not in proposals:
            raise LocalProtocolError("protocol switch accepted, but none of that kind was proposed")
        trigger = (event_type, accepted_switch)
    if role is CLIENT:
        client = _moved(CLIENT, client, trigger)
    else:
        server = _moved(SERVER, server, trigger)
    if event_type is Request:
        server = _moved(SERVER, server, (Request, CLIENT))
    elif event_type is Response and accepted_switch is None:
        proposals = _NO_PROPOSALS  # a final response that accepts nothing has declined them
    return _settled(client, server, keep_alive, proposals)


def _moved(role: Role, state: State, trigger: Trigger) -> State:
    try:
        return _EVENTS[role][state][trigger]
    except KeyError:
        name = getattr(trigger, "__name__", trigger)
        raise LocalProtocolError(f"can't handle event type {name} when role={role} and state={state}") from None


def _settled(client: State, server: State, keep_alive: bool, proposals: frozenset[State]) -> _Joint:
    """Follow from what is known until nothing changes any more."""
    while True:
        before = (client, server)
        if proposals and client is DONE:
            client = MIGHT_SWITCH_PROTOCOL
        elif not proposals and client is MIGHT_SWITCH_PROTOCOL:
            client = DONE
        if not keep_alive:
            client = MUST_CLOSE if client is DONE else client
            server = MUST_CLOSE if server is DONE else server
        client, server = _JOINT.get((client, server), (client, server))
        if (client, server) == before:
            return client, server, keep_alive, proposals


# What follows on what is remembered: there are a few hundred possible steps, of which a dozen are taken again and again
_known_steps: dict[tuple[_Joint, Role, type, State | None], _Joint] = {}
_FRESH: _Joint = (IDLE, IDLE, True, _NO_PROPOSALS)
