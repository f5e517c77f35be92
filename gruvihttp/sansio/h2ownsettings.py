"""`OwnSettings`: what we ask of an HTTP/2 peer, and from when on it is held to that (RFC 9113 §6.5.3).

The peer follows our SETTINGS only once it has acknowledged them, and may send by the former ones until then. So what is
wider than before is allowed at once, and what is narrower is insisted on after the acknowledgement.
"""

from __future__ import annotations

from gruvihttp.sansio import frames
from gruvihttp.sansio.frames import PREFACE
from gruvihttp.sansio.h2control import ControlFrames
from gruvihttp.sansio.h2receiver import Receiver
from gruvihttp.sansio.h2sections import Sections
from gruvihttp.sansio.h2sender import Sender
from gruvihttp.sansio.h2settings import DEFAULT_WINDOW_BYTES, Settings
from gruvihttp.sansio.hpack import DEFAULT_TABLE_BYTES

__all__ = ["OwnSettings", "preface"]


class OwnSettings:
    """Puts the settings that we send into force."""

    def __init__(self, sections: Sections, receiver: Receiver, control: ControlFrames, sender: Sender) -> None:
        self._sections = sections
        self._receiver = receiver
        self._control = control
        self._sender = sender
        self._table_bytes = DEFAULT_TABLE_BYTES

    def expect(self, settings: Settings) -> None:
        """These settings are on their way to the peer."""
        sections, receiver = self._sections, self._receiver
        sections.most_streams = settings.concurrent_streams
        sections.connect_protocol = settings.connect_protocol
        receiver.frame_bytes = max(receiver.frame_bytes, settings.frame_bytes)
        if settings.window_bytes > sections.stream_window:
            self._move_windows(settings.window_bytes)
        if settings.header_table_bytes > self._table_bytes:
            self._limit_table(settings.header_table_bytes)
        self._control.unacknowledged.append(lambda: self._insist(settings))

    def _insist(self, settings: Settings) -> None:
        """The peer has acknowledged them."""
        self._receiver.frame_bytes = settings.frame_bytes
        self._move_windows(settings.window_bytes)
        if settings.header_table_bytes != self._table_bytes:
            self._limit_table(settings.header_table_bytes)

    def _limit_table(self, table_bytes: int) -> None:
        self._table_bytes = table_bytes
        self._sections.set_table_limit(table_bytes)

    def _move_windows(self, window_bytes: int) -> None:
        delta = window_bytes - self._sections.stream_window
        self._sections.stream_window = window_bytes
        for stream in self._sender.open_streams():
            stream.recv_window += delta
            stream.window_bytes += delta
            if stream.credited:  # what was too little to be told of may be all of a narrower window
                self._receiver.credit(stream, 0)


def preface(settings: Settings, *, server: bool, list_bytes: int) -> bytes:
    """What we send first (RFC 9113 §3.4), with the connection's window where it is not the default."""
    pairs = settings.pairs(server=server, list_bytes=list_bytes)
    first = (b"" if server else PREFACE) + frames.settings(pairs)
    more = settings.connection_window_bytes - DEFAULT_WINDOW_BYTES
    return first + frames.window_update(0, more) if more else first
