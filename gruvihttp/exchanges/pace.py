"""How long to wait for content: for the next piece of it, and for all that has come so far taken together.

A peer that sends a byte now and then is never late with the next one, and could go on for ever. So content has a least
rate as well. Only waiting counts: the time that the handler takes between two reads is not the peer's delay.
"""

from __future__ import annotations

from gruvihttp.exchanges.config import ServerConfig

__all__ = ["content_patience"]


def content_patience(config: ServerConfig, received_bytes: int, waited_seconds: float) -> float | None:
    """The seconds that the next piece may take, 0 if the peer is too slow already; None: for ever.

    `received_bytes` of content have arrived so far, in `waited_seconds` of waiting. The first `Timeouts.content`
    seconds are free; each further second has to be paid for with `Limits.content_rate` bytes.
    """
    timeout = config.timeouts.content
    rate = config.limits.content_rate
    if timeout is None or rate is None:
        return timeout
    return max(min(timeout, timeout + received_bytes / rate - waited_seconds), 0.0)
