"""The joint states of an exchange: every event in every state, and what the states mean for each other."""

from __future__ import annotations

from typing import Any

import pytest

from gruvihttp.errors import LocalProtocolError
from gruvihttp.sansio import (
    CLIENT,
    CLOSED,
    DONE,
    ERROR,
    IDLE,
    MIGHT_SWITCH_PROTOCOL,
    MUST_CLOSE,
    NEED_DATA,
    PAUSED,
    SEND_BODY,
    SEND_RESPONSE,
    SERVER,
    SWITCHED_PROTOCOL,
    ConnectionClosed,
    Data,
    EndOfMessage,
    InformationalResponse,
    Request,
    Response,
)
from gruvihttp.sansio.sentinels import Sentinel
from gruvihttp.sansio.states import SWITCH_CONNECT, SWITCH_UPGRADE, Cycle

Step = Any  # (role, event class) | (role, event class, accepted proposal) | (method of Cycle, argument)

REQUEST: Step = (CLIENT, Request)
REQUEST_END: Step = (CLIENT, EndOfMessage)
RESPONSE: Step = (SERVER, Response)
RESPONSE_END: Step = (SERVER, EndOfMessage)
CLIENT_CLOSES: Step = (CLIENT, ConnectionClosed)
SERVER_CLOSES: Step = (SERVER, ConnectionClosed)
LAST_EXCHANGE: Step = ("disable_keep_alive",)
UPGRADE: Step = ("propose_switch", SWITCH_UPGRADE)
CONNECT: Step = ("propose_switch", SWITCH_CONNECT)

EVENTS = (Request, InformationalResponse, Response, Data, EndOfMessage, ConnectionClosed)


def after(*steps: Step) -> Cycle:
    cycle = Cycle()
    for step in steps:
        take(cycle, step)
    return cycle


def take(cycle: Cycle, step: Step) -> None:
    if isinstance(step[0], str):
        getattr(cycle, step[0])(*step[1:])
    else:
        cycle.process(*step)


def states(cycle: Cycle) -> tuple[Any, Any]:
    assert cycle.state_of(CLIENT) is cycle.client
    assert cycle.state_of(SERVER) is cycle.server
    return cycle.client, cycle.server


# How to get each role into each of its states
CLIENT_IN: dict[Any, tuple[Step, ...]] = {
    IDLE: (),
    SEND_BODY: (REQUEST,),
    DONE: (REQUEST, REQUEST_END),
    MUST_CLOSE: (REQUEST, LAST_EXCHANGE, REQUEST_END),
    CLOSED: (CLIENT_CLOSES,),
    MIGHT_SWITCH_PROTOCOL: (UPGRADE, REQUEST, REQUEST_END),
    SWITCHED_PROTOCOL: (UPGRADE, REQUEST, REQUEST_END, (SERVER, InformationalResponse, SWITCH_UPGRADE)),
    ERROR: (("fail", CLIENT),),
}
SERVER_IN: dict[Any, tuple[Step, ...]] = {
    IDLE: (),
    SEND_RESPONSE: (REQUEST,),
    SEND_BODY: (REQUEST, RESPONSE),
    DONE: (REQUEST, RESPONSE, RESPONSE_END),
    MUST_CLOSE: (REQUEST, LAST_EXCHANGE, RESPONSE, RESPONSE_END),
    CLOSED: (SERVER_CLOSES,),
    SWITCHED_PROTOCOL: (UPGRADE, REQUEST, (SERVER, InformationalResponse, SWITCH_UPGRADE)),
    ERROR: (("fail", SERVER),),
}
# What an event makes of its sender's state; whatever is not here is refused
CLIENT_MOVES: dict[tuple[Any, type], Any] = {
    (IDLE, Request): SEND_BODY,
    (IDLE, ConnectionClosed): CLOSED,
    (SEND_BODY, Data): SEND_BODY,
    (SEND_BODY, EndOfMessage): DONE,
    (DONE, ConnectionClosed): CLOSED,
    (MUST_CLOSE, ConnectionClosed): CLOSED,
    (CLOSED, ConnectionClosed): CLOSED,
}
SERVER_MOVES: dict[tuple[Any, type], Any] = {
    (IDLE, Response): SEND_BODY,
    (IDLE, ConnectionClosed): CLOSED,
    (SEND_RESPONSE, InformationalResponse): SEND_RESPONSE,
    (SEND_RESPONSE, Response): SEND_BODY,
    (SEND_BODY, Data): SEND_BODY,
    (SEND_BODY, EndOfMessage): DONE,
    (DONE, ConnectionClosed): CLOSED,
    (MUST_CLOSE, ConnectionClosed): CLOSED,
    (CLOSED, ConnectionClosed): CLOSED,
}

EVERY_MOVE = [
    pytest.param(role, state, event, moves.get((state, event)), id=f"{role}-{state}-{event.__name__}")
    for role, ways, moves in ((CLIENT, CLIENT_IN, CLIENT_MOVES), (SERVER, SERVER_IN, SERVER_MOVES))
    for state in ways
    for event in EVENTS
]


@pytest.mark.parametrize(("role", "state", "event", "expected"), EVERY_MOVE)
def test_event_moves_its_sender_or_is_refused(role: Any, state: Any, event: type, expected: Any) -> None:
    cycle = after(*(CLIENT_IN if role is CLIENT else SERVER_IN)[state])
    assert cycle.state_of(role) is state
    before = states(cycle)

    if expected is None:
        with pytest.raises(LocalProtocolError):
            cycle.process(role, event)
        assert states(cycle) == before
    else:
        cycle.process(role, event)
        assert cycle.state_of(role) is expected


JOINT = [
    pytest.param((REQUEST,), (SEND_BODY, SEND_RESPONSE), id="request-makes-the-server-answer"),
    pytest.param((REQUEST, REQUEST_END, RESPONSE, RESPONSE_END), (DONE, DONE), id="exchange-over"),
    pytest.param(
        (REQUEST, REQUEST_END, RESPONSE, RESPONSE_END, SERVER_CLOSES), (MUST_CLOSE, CLOSED), id="server-closes-after"
    ),
    pytest.param(
        (REQUEST, REQUEST_END, RESPONSE, RESPONSE_END, CLIENT_CLOSES), (CLOSED, MUST_CLOSE), id="client-closes-after"
    ),
    pytest.param((CLIENT_CLOSES,), (CLOSED, MUST_CLOSE), id="client-closes-idle"),
    pytest.param((SERVER_CLOSES,), (MUST_CLOSE, CLOSED), id="server-closes-idle"),
    pytest.param((REQUEST, REQUEST_END, CLIENT_CLOSES), (CLOSED, SEND_RESPONSE), id="half-close-before-the-response"),
    pytest.param(
        (REQUEST, REQUEST_END, CLIENT_CLOSES, RESPONSE, RESPONSE_END),
        (CLOSED, MUST_CLOSE),
        id="half-close-and-response",
    ),
    pytest.param((REQUEST, RESPONSE, RESPONSE_END), (SEND_BODY, DONE), id="early-response"),
    pytest.param((REQUEST, LAST_EXCHANGE, REQUEST_END), (MUST_CLOSE, SEND_RESPONSE), id="last-exchange-client-done"),
    pytest.param(
        (REQUEST, LAST_EXCHANGE, REQUEST_END, RESPONSE, RESPONSE_END), (MUST_CLOSE, MUST_CLOSE), id="last-exchange"
    ),
    pytest.param((REQUEST, REQUEST_END, LAST_EXCHANGE), (MUST_CLOSE, SEND_RESPONSE), id="last-exchange-said-late"),
    pytest.param(
        (REQUEST, REQUEST_END, RESPONSE, RESPONSE_END, ("fail", CLIENT)), (ERROR, MUST_CLOSE), id="client-fails"
    ),
    pytest.param(
        (REQUEST, REQUEST_END, RESPONSE, RESPONSE_END, ("fail", SERVER)), (MUST_CLOSE, ERROR), id="server-fails"
    ),
    pytest.param((REQUEST, ("fail", SERVER)), (SEND_BODY, ERROR), id="server-fails-early"),
    pytest.param((UPGRADE, REQUEST, (CLIENT, Data)), (SEND_BODY, SEND_RESPONSE), id="switch-waits-for-the-end"),
    pytest.param((UPGRADE, REQUEST, REQUEST_END), (MIGHT_SWITCH_PROTOCOL, SEND_RESPONSE), id="switch-proposed"),
    pytest.param(
        (UPGRADE, REQUEST, REQUEST_END, (SERVER, InformationalResponse)),
        (MIGHT_SWITCH_PROTOCOL, SEND_RESPONSE),
        id="informational-response-decides-nothing",
    ),
    pytest.param((UPGRADE, REQUEST, REQUEST_END, RESPONSE), (DONE, SEND_BODY), id="switch-declined"),
    pytest.param((UPGRADE, REQUEST, RESPONSE, REQUEST_END), (DONE, SEND_BODY), id="switch-declined-early"),
    pytest.param((CONNECT, REQUEST, REQUEST_END, RESPONSE), (DONE, SEND_BODY), id="connect-declined"),
    pytest.param((CONNECT, REQUEST, RESPONSE, REQUEST_END), (DONE, SEND_BODY), id="connect-declined-early"),
    pytest.param(
        (UPGRADE, REQUEST, REQUEST_END, (SERVER, InformationalResponse, SWITCH_UPGRADE)),
        (SWITCHED_PROTOCOL, SWITCHED_PROTOCOL),
        id="upgrade-accepted",
    ),
    pytest.param(
        (CONNECT, REQUEST, REQUEST_END, (SERVER, Response, SWITCH_CONNECT)),
        (SWITCHED_PROTOCOL, SWITCHED_PROTOCOL),
        id="connect-accepted",
    ),
    pytest.param(
        (UPGRADE, REQUEST, (SERVER, InformationalResponse, SWITCH_UPGRADE)),
        (SEND_BODY, SWITCHED_PROTOCOL),
        id="upgrade-accepted-early",
    ),
    pytest.param(
        (UPGRADE, REQUEST, (SERVER, InformationalResponse, SWITCH_UPGRADE), REQUEST_END),
        (SWITCHED_PROTOCOL, SWITCHED_PROTOCOL),
        id="upgrade-accepted-early-then-the-end",
    ),
    pytest.param(
        (UPGRADE, CONNECT, REQUEST, REQUEST_END, RESPONSE), (DONE, SEND_BODY), id="both-proposed-both-declined"
    ),
    pytest.param(
        (UPGRADE, CONNECT, REQUEST, REQUEST_END, (SERVER, InformationalResponse, SWITCH_UPGRADE)),
        (SWITCHED_PROTOCOL, SWITCHED_PROTOCOL),
        id="both-proposed-upgrade-accepted",
    ),
    pytest.param(
        (UPGRADE, CONNECT, REQUEST, REQUEST_END, (SERVER, Response, SWITCH_CONNECT)),
        (SWITCHED_PROTOCOL, SWITCHED_PROTOCOL),
        id="both-proposed-connect-accepted",
    ),
    pytest.param(
        (UPGRADE, REQUEST, LAST_EXCHANGE, REQUEST_END),
        (MIGHT_SWITCH_PROTOCOL, SEND_RESPONSE),
        id="switch-wins-over-the-last-exchange",
    ),
    pytest.param(
        (UPGRADE, REQUEST, LAST_EXCHANGE, REQUEST_END, RESPONSE),
        (MUST_CLOSE, SEND_BODY),
        id="last-exchange-counts-again-when-the-switch-is-declined",
    ),
]


@pytest.mark.parametrize(("steps", "expected"), JOINT)
def test_states_mean_something_for_each_other(steps: tuple[Step, ...], expected: tuple[Any, Any]) -> None:
    assert states(after(*steps)) == expected


@pytest.mark.parametrize(
    ("proposed", "accepted"),
    [
        pytest.param((), SWITCH_CONNECT, id="connect-of-nothing"),
        pytest.param((), SWITCH_UPGRADE, id="upgrade-of-nothing"),
        pytest.param((UPGRADE,), SWITCH_CONNECT, id="connect-of-upgrade"),
        pytest.param((CONNECT,), SWITCH_UPGRADE, id="upgrade-of-connect"),
    ],
)
def test_switch_that_was_not_proposed_cannot_be_accepted(proposed: tuple[Step, ...], accepted: Any) -> None:
    cycle = after(*proposed, REQUEST)
    for event in (Response, InformationalResponse):
        with pytest.raises(LocalProtocolError):
            cycle.process(SERVER, event, accepted)
    assert states(cycle) == (SEND_BODY, SEND_RESPONSE)


EXCHANGE = (REQUEST, REQUEST_END, RESPONSE, RESPONSE_END)


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((), id="idle"),
        pytest.param((REQUEST, REQUEST_END), id="no-response"),
        pytest.param((REQUEST, RESPONSE, RESPONSE_END), id="request-not-over"),
        pytest.param((LAST_EXCHANGE, *EXCHANGE), id="last-exchange"),
        pytest.param((REQUEST, REQUEST_END, CLIENT_CLOSES, RESPONSE, RESPONSE_END), id="half-closed"),
        pytest.param((UPGRADE, REQUEST, REQUEST_END, (SERVER, InformationalResponse, SWITCH_UPGRADE)), id="switched"),
        pytest.param((*EXCHANGE, ("fail", SERVER)), id="failed"),
    ],
)
def test_next_exchange_is_refused_and_nothing_changes(steps: tuple[Step, ...]) -> None:
    cycle = after(*steps)
    before = states(cycle)
    with pytest.raises(LocalProtocolError, match="not in a reusable state"):
        cycle.start_next()
    assert states(cycle) == before


@pytest.mark.parametrize(
    "steps",
    [pytest.param(EXCHANGE, id="plain"), pytest.param((UPGRADE, *EXCHANGE), id="switch-declined")],
)
def test_next_exchange_begins_idle(steps: tuple[Step, ...]) -> None:
    cycle = after(*steps)
    cycle.start_next()
    assert states(cycle) == (IDLE, IDLE)
    for step in (*EXCHANGE, LAST_EXCHANGE):
        take(cycle, step)
    assert states(cycle) == (MUST_CLOSE, MUST_CLOSE)


def test_server_cannot_send_what_a_request_does_to_it() -> None:
    cycle = Cycle()
    with pytest.raises(LocalProtocolError):
        cycle.process(SERVER, Request)
    assert states(cycle) == (IDLE, IDLE)


def test_whatever_is_no_event_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="can't handle event type"):
        Cycle().process(CLIENT, int)


def test_cycle_shows_its_states() -> None:
    assert repr(after(REQUEST)) == "Cycle(client=SEND_BODY, server=SEND_RESPONSE, keep_alive=True)"
    assert after(REQUEST).keep_alive
    assert not after(LAST_EXCHANGE).keep_alive


@pytest.mark.parametrize(
    "sentinel",
    [
        CLIENT, SERVER, IDLE, SEND_RESPONSE, SEND_BODY, DONE, MUST_CLOSE, CLOSED, ERROR, MIGHT_SWITCH_PROTOCOL,
        SWITCHED_PROTOCOL, NEED_DATA, PAUSED,
    ],
    ids=repr,
)  # fmt: skip
def test_sentinel_is_its_own_class_and_shows_its_name(sentinel: Any) -> None:
    assert type(sentinel) is sentinel
    assert isinstance(sentinel, Sentinel)
    assert repr(sentinel) == sentinel.__name__
    assert {sentinel: 1}[sentinel] == 1


class One(Sentinel, metaclass=Sentinel):
    """For the next test. Not inside it: a class that is its own type can never be collected."""


class Other(Sentinel, metaclass=Sentinel):
    """Likewise."""


def test_two_sentinels_are_different() -> None:
    assert One != Other
    assert type(One) is not type(Other)
    assert repr(One) == "One"
