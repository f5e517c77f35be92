"""A server of HTTP/2 that says frames and hears frames, one by one: for whatever a proper server would never do.

The codec of fields is the hpack package's, so that ours has an independent other end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hpack
import hyperframe.frame as hf

from gruvihttp.sansio import frames as f
from gruvihttp.testing import RawPeer

__all__ = ["FrameServer", "Heard"]


class Heard:
    """A frame that the client has sent. `fields` are those of a whole header section, as text."""

    def __init__(self, frame: Any, fields: list[tuple[str, str]] | None) -> None:
        self.kind = type(frame).__name__.removesuffix("Frame")
        self.stream: int = frame.stream_id
        self.ends = "END_STREAM" in frame.flags
        self.ack = "ACK" in frame.flags
        self.content: bytes = frame.data if self.kind == "Data" else b""
        self.code: int | None = getattr(frame, "error_code", None)
        self.increment: int | None = getattr(frame, "window_increment", None)
        self.opaque: bytes = getattr(frame, "opaque_data", b"")
        self.settings: dict[int, int] = getattr(frame, "settings", {})
        self.fields = fields or []

    def __repr__(self) -> str:
        return f"<{self.kind} {self.stream}{' END' if self.ends else ''} {len(self.content)} bytes>"


class FrameServer:
    """One connection. The client's preface is read, and SETTINGS are sent, unless `settings` is None.

    With `piecewise` everything is said a byte at a time. `heard` are all frames there were. PING is answered whenever
    something is listened for, as long as `answers_pings`.
    """

    def __init__(
        self,
        peer: RawPeer,
        settings: tuple[tuple[int, int], ...] | None = (),
        *,
        piecewise: bool = False,
        acknowledge: bool = True,
    ) -> None:
        self.peer = peer
        self.heard: list[Heard] = []
        self.answers_pings = True
        self._piecewise = piecewise
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        assert peer.read(len(f.PREFACE)) == f.PREFACE
        if settings is not None:
            self.say(f.settings(settings))
            if acknowledge:
                self.say(f.frame(f.SETTINGS, f.ACK, 0))

    # saying

    def say(self, *frames: bytes) -> None:
        """Send frames."""
        content = b"".join(frames)
        if self._piecewise:
            self.peer.send_in_pieces(content)
        else:
            self.peer.send(content)

    def head(self, stream: int, status: int = 200, *fields: tuple[str, str], end: bool = False) -> bytes:
        """HEADERS of a response."""
        return self.section(stream, (":status", str(status)), *fields, end=end)

    def section(self, stream: int, *fields: tuple[str, str], end: bool = False) -> bytes:
        """HEADERS with any fields."""
        block = self._encoder.encode(fields)
        return f.head(block, end=end, stream_id=stream, frame_bytes=16384)

    @staticmethod
    def data(stream: int, content: bytes = b"", *, end: bool = False) -> bytes:
        """DATA."""
        return f.frame(f.DATA, f.END_STREAM if end else 0, stream, content)

    def answer(self, stream: int, content: bytes = b"", status: int = 200) -> None:
        """A whole response."""
        self.say(self.head(stream, status), self.data(stream, content, end=True))

    # hearing

    def hear(self, kind: str | None = None) -> Heard:
        """The next frame, or the next one of a kind, what comes before it being skipped. EOFError at the end."""
        for frame in self._frames():
            if kind is None or frame.kind == kind:
                return frame
        raise EOFError(f"no {kind or 'frame'} came")

    def request(self) -> Heard:
        """The next header section."""
        return self.hear("Headers")

    def content(self, stream: int, *, credit: bool = True) -> bytes:
        """The content of a request to its end, for which the windows are opened again."""
        whole = b""
        while True:
            frame = self.hear("Data")
            if frame.stream != stream:
                continue
            whole += frame.content
            if frame.ends:
                return whole
            if credit and frame.content:
                size = len(frame.content)
                self.say(f.window_update(0, size), f.window_update(stream, size))

    def rest(self) -> list[Heard]:
        """What comes until the client closes the connection."""
        return list(self._frames())

    def of_kind(self, kind: str) -> list[Heard]:
        """What was heard so far of a kind."""
        return [frame for frame in self.heard if frame.kind == kind]

    def sync(self) -> None:
        """Wait until the client has read all that was said: it answers PING in order."""
        self.say(f.ping(b"are we ?"))
        while True:
            frame = self.hear("Ping")
            if frame.ack and frame.opaque == b"are we ?":
                return

    def _frames(self) -> Iterator[Heard]:
        while head := self.peer.read(9):
            frame, length = hf.Frame.parse_frame_header(memoryview(head))
            body = self.peer.read(length)
            if len(body) < length:
                return
            frame.parse_body(memoryview(body))
            fields: Any = None
            if isinstance(frame, hf.HeadersFrame):
                assert "END_HEADERS" in frame.flags
                fields = self._decoder.decode(frame.data)
            heard = Heard(frame, fields)
            self.heard.append(heard)
            if heard.kind == "Ping" and not heard.ack and self.answers_pings:
                self.say(f.ping(heard.opaque, ack=True))
            yield heard
