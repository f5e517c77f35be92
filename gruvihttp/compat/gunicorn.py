"""A worker class for gunicorn: ``gunicorn -k gruvihttp.compat.gunicorn.Worker application``.

gunicorn binds, forks, watches and signals; the worker serves. Signals act at once: TERM ends idle connections, tells
running requests to be the last of their connections, and gives them ``graceful_timeout``. `worker_connections` bounds
the requests that run, not the connections that are open. HTTP is not known here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from datetime import timedelta
from signal import SIGINT, SIGQUIT, SIGTERM, signal
from time import monotonic
from typing import Any

import gevent
from gevent import get_hub, monkey, socket
from gevent.event import Event

from gruvihttp.compat.around import AroundServer
from gruvihttp.exchanges.base import Handler, ServerExchange
from gruvihttp.limits import H2Limits, Limits, Timeouts

try:
    from gunicorn.sock import ssl_context  # type: ignore[import-untyped]
    from gunicorn.workers.base import Worker as BaseWorker  # type: ignore[import-untyped]
except ImportError as exc:
    raise ImportError("the worker class needs gunicorn: pip install 'gruvihttp[gunicorn]'") from exc

__all__ = ["Worker"]

# for limit_request_line and limit_request_field_size, where 0 means none at all: no sender has more to say
_UNLIMITED_BYTES = 1 << 20


class Worker(BaseWorker):  # type: ignore[misc]  # gunicorn has no types
    """Serves with gruvihttp what gunicorn gives it."""

    _signalled = False  # a signal has arrived, and its handler ends the worker

    def init_process(self) -> None:
        """Patch before the application is imported, then begin as every worker does."""
        # Until then a fork has the handlers of the master, which keep the signal to themselves: it would be lost.
        for number, handler in ((SIGTERM, self.handle_exit), (SIGQUIT, self.handle_quit), (SIGINT, self.handle_quit)):
            signal(number, handler)
        monkey.patch_all()
        gevent.reinit()
        super().init_process()

    def run(self) -> None:
        """Serve until a signal comes, the parent is gone, or `max_requests` have been served."""
        self._ended = Event()
        self._patience: float = self.cfg.graceful_timeout
        self._adopt_log()
        self._loop = get_hub().loop
        helping = [gevent.spawn(self._keep_notifying), gevent.spawn(self._heed_reloader)]
        server = self._listen()
        if self.alive:  # a signal may have come while the application was loaded
            self._ended.wait()
        server.drain()
        for listener in self.sockets:  # gunicorn's own descriptors: while one is open, the address is not free
            listener.close()
        server.close(self._patience)
        gevent.killall(helping)

    def _listen(self) -> AroundServer:
        cfg = self.cfg
        server = AroundServer(
            _Application(self),
            limits=_limits(cfg),
            h2_limits=_h2_limits(cfg),
            http2=_speaks_http2(cfg),
            timeouts=Timeouts(turn=None, idle=cfg.keepalive, graceful=cfg.graceful_timeout),  # it never answers 503
            trusted_proxies=_trusted(cfg.forwarded_allow_ips),
        )
        context = ssl_context(cfg) if cfg.is_ssl else False
        options: dict[str, Any] = {}
        if getattr(cfg, "proxy_protocol", "off") not in (False, None, "off"):
            options["proxy_protocol"] = _trusted(cfg.proxy_allow_ips)
        for listener in self.sockets:
            server.listen(os.dup(listener.fileno()), context, **options)
        return server

    def _adopt_log(self) -> None:
        """What gruvihttp logs goes where gunicorn's errors go."""
        source = getattr(self.log, "error_log", None)
        if source is not None:
            ours = logging.getLogger("gruvihttp")
            ours.handlers = source.handlers
            ours.propagate = False

    # signals: handlers of Python's, which run wherever the process is at work

    def handle_exit(self, sig: int, frame: Any) -> None:
        """TERM: end politely."""
        self._end()

    def handle_quit(self, sig: int, frame: Any) -> None:
        """QUIT and INT: end at once."""
        if not hasattr(self, "_loop"):  # the application is being loaded
            super().handle_quit(sig, frame)
        self._patience = 0
        self._end(self.cfg.worker_int, self)

    def handle_usr1(self, sig: int, frame: Any) -> None:
        """USR1: open the log files anew; that takes locks, so it is not done in the handler."""
        if hasattr(self, "_loop"):
            self._loop.run_callback_threadsafe(gevent.spawn, self.log.reopen_files)

    def _end(self, *before: Any) -> None:
        """Let `run` go on to its end, after calling ``before[0](*before[1:])`` if that is given."""
        self.alive = False
        self._signalled = True
        if hasattr(self, "_loop"):
            self._loop.run_callback_threadsafe(gevent.spawn, self._finish, *before)

    def _finish(self, *before: Any) -> None:
        try:
            if before:
                before[0](*before[1:])
        finally:
            self._ended.set()

    def _keep_notifying(self) -> None:
        """Tell gunicorn that the loop runs; end if gunicorn is gone."""
        while True:
            self.notify()
            if self.ppid != os.getppid():
                self.log.info("Parent changed, shutting down: %s", self)
                self.alive = False
                self._ended.set()
            gevent.sleep(self.timeout or 30)  # gunicorn has halved it; 0 means that it does not watch

    def _heed_reloader(self) -> None:
        """End gracefully when gunicorn's reloader asks for it, which it does through the pipe for signals."""
        while self.alive:
            socket.wait_read(self.PIPE[0])
            os.read(self.PIPE[0], 4096)
        if not self._signalled:
            self._ended.set()

    # exchanges

    def around(self, exchange: ServerExchange, serve: Handler) -> None:
        """Serve an exchange, and tell gunicorn's log and hooks."""
        begun = monotonic()
        try:
            serve(exchange)
        finally:
            self._count()
            self._tell(exchange, monotonic() - begun)

    def _count(self) -> None:
        self.nr += 1
        if self.alive and self.nr >= self.max_requests:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
            self._ended.set()

    def _tell(self, exchange: ServerExchange, seconds: float) -> None:
        environ = exchange.notes
        if environ is None or "gunicorn.request" not in environ:
            return  # refused before the application was called
        request = environ.pop("gunicorn.request")
        response = _Response(exchange)
        self.log.access(response, request, environ, timedelta(seconds=seconds))
        try:
            self.cfg.post_request(self, request, environ, response)
        except Exception:
            self.log.exception("Exception in post_request hook")


class _Application:
    """The application, with what gunicorn's users look for in environ."""

    def __init__(self, worker: Worker) -> None:
        self.around = worker.around
        self._worker = worker
        self._is_multiprocess = worker.cfg.workers > 1

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        worker = self._worker
        request = _Request(environ)
        environ["RAW_URI"] = request.uri
        environ["wsgi.multiprocess"] = self._is_multiprocess
        environ["gunicorn.request"] = request
        worker.cfg.pre_request(worker, request)
        result: Iterable[bytes] = worker.wsgi(environ, start_response)
        return result


class _Request:
    """What gunicorn's hooks and logs ask about a request."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self.method = environ["REQUEST_METHOD"]
        self.uri = environ["REQUEST_URI"]
        self.path, _, self.query = self.uri.partition("?")
        self.fragment = ""
        self.scheme = environ["wsgi.url_scheme"]
        major, _, minor = environ["SERVER_PROTOCOL"].removeprefix("HTTP/").partition(".")
        self.version = (int(major), int(minor or 0))
        names = ((key.removeprefix("HTTP_"), key) for key in environ if key.startswith(("HTTP_", "CONTENT_")))
        self.headers = [(name.replace("_", "-"), environ[key]) for name, key in names]


class _Response:
    """What gunicorn's hooks and logs ask about a response."""

    def __init__(self, exchange: ServerExchange) -> None:
        head = exchange.head
        self.status_code = 500 if head is None else head.status
        self.status = "500 Internal Server Error" if head is None else f"{head.status} {head.reason.decode('latin-1')}"
        fields = [] if head is None else head.fields
        self.headers = [(name.decode("ascii"), value.decode("latin-1")) for name, value in fields]
        self.sent = self.response_length = exchange.sent_bytes
        self.headers_sent = exchange.head_sent


def _limits(cfg: Any) -> Limits:
    """gunicorn bounds each field and their number; ours is a bound on all of them, which is enough for either."""
    default = Limits()
    each = cfg.limit_request_field_size or _UNLIMITED_BYTES
    return Limits(
        request_line_bytes=cfg.limit_request_line or _UNLIMITED_BYTES,
        fields_count=cfg.limit_request_fields,
        active_requests=cfg.worker_connections or None,
        fields_bytes=max(each + 2, min(default.fields_bytes, cfg.limit_request_fields * (each + 2))),
    )


def _h2_limits(cfg: Any) -> H2Limits:
    default = H2Limits()
    window = getattr(cfg, "http2_initial_window_size", default.window_bytes)
    return H2Limits(
        concurrent_streams=getattr(cfg, "http2_max_concurrent_streams", default.concurrent_streams),
        window_bytes=window,
        widest_window_bytes=max(window, default.widest_window_bytes),
        frame_bytes=getattr(cfg, "http2_max_frame_size", default.frame_bytes),
    )


def _speaks_http2(cfg: Any) -> bool:
    """gunicorn's own switches; a gunicorn from before it had them has only HTTP/1."""
    if "h2" not in getattr(cfg, "http_protocols", ()):
        return False
    return cfg.is_ssl or getattr(cfg, "http2_cleartext", "off") in ("prior-knowledge", "both")


def _trusted(names: Any) -> list[str]:
    """gunicorn's list of proxies, in which Unix sockets are always trusted."""
    given = names.split(",") if isinstance(names, str) else list(names)
    if "*" in given:
        given = ["0.0.0.0/0", "::/0"]
    return [*(name.strip() for name in given if name.strip()), "unix"]
