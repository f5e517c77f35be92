"""Listening sockets that another process has bound: ``fd://3``, and those that systemd passes."""

from __future__ import annotations

import _socket

from gruvihttp.commands.addresses import Bind
from gruvihttp.commands.mistakes import BindMistake, UsageMistake
from gruvihttp.commands.settings import Settings
from gruvihttp.systemd import PassedSocket, passed_sockets

__all__ = ["resolve_passed"]


def resolve_passed(settings: Settings) -> Settings:
    """`settings`, in which the addresses of passed sockets know where these listen.

    ``systemd`` without a name means the passed sockets that no other address names.

    Raises UsageMistake or BindMistake.
    """
    passed = passed_sockets()
    metrics = settings.operating.metrics_bind
    named = {bind.passed_name for bind in (*settings.binds, metrics) if bind is not None}
    binds = [found for bind in settings.binds for found in _resolve(bind, passed, named)]
    if metrics is not None:
        metrics = _resolve(metrics, passed, named)[0]
    return settings._replace(binds=tuple(binds), operating=settings.operating._replace(metrics_bind=metrics))


def _resolve(bind: Bind, passed: list[PassedSocket], named: set[str | None]) -> list[Bind]:
    if bind.passed_name is None:
        return [bind if bind.descriptor is None else _look_at(bind)]
    if bind.passed_name:
        chosen = [one for one in passed if one.name == bind.passed_name]
    else:
        chosen = [one for one in passed if one.name not in named]
    if not chosen:
        raise _none_passed(bind, passed)
    return [_look_at(Bind(bind.text, one.descriptor)) for one in chosen]


def _look_at(bind: Bind) -> Bind:
    """Raises BindMistake for what is no listening socket."""
    descriptor = bind.descriptor
    assert descriptor is not None
    try:
        sock = _socket.socket(fileno=descriptor)
    except OSError as exc:
        raise BindMistake(
            f"cannot listen on {bind.text}: descriptor {descriptor} is no socket ({exc.strerror})",
            "pass a listening socket, or write where to listen: --bind 127.0.0.1:8000",
        ) from exc
    try:
        if not sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN):
            raise BindMistake(
                f"cannot listen on {bind.text}: descriptor {descriptor} is a socket that does not listen",
                "pass one that does: in a .socket unit, ListenStream= without Accept=yes",
            )
        address = sock.getsockname()
    finally:
        sock.detach()
    if isinstance(address, bytes):
        address = address.decode("utf-8", "replace")
    return Bind(bind.text, descriptor, listens_at=address if isinstance(address, str) else (address[0], address[1]))


def _none_passed(bind: Bind, passed: list[PassedSocket]) -> UsageMistake:
    if passed:
        names = ", ".join(sorted({one.name for one in passed}))
        return UsageMistake(
            f"systemd has passed no socket with the name {bind.passed_name!r}",
            f"there are: {names}; FileDescriptorName= in the .socket unit sets it",
        )
    return UsageMistake(
        "systemd has passed no sockets", "start it by its .socket unit, or write where to listen: --bind 127.0.0.1:8000"
    )
