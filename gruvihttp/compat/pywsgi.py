"""gevent.pywsgi's `WSGIServer`, so that a program for it is served by gruvihttp when its import is changed.

Constructor, methods and attributes are gevent's. What differs: idle connections end when the server stops, and running
requests get `stop_timeout` to finish whether there is a pool or not; `spawn` bounds the requests that run and not the
connections that are open; tracebacks go to the logger ``gruvihttp.server``, and `error_log` is ``wsgi.errors``. Of a
`handler_class` only what it logs and puts into environ can be honoured. The rest of the server is not known here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from time import time
from typing import Any, Self

import gevent
from gevent import pywsgi
from gevent import socket as gevent_socket
from gevent.baseserver import parse_address  # type: ignore[attr-defined]  # not in the stubs
from gevent.event import Event
from gevent.pool import Pool

from gruvihttp.compat.around import AroundServer
from gruvihttp.compat.pywsgiarguments import NoLog, log_of, tls_context
from gruvihttp.compat.pywsgihandler import Handlers, log_line
from gruvihttp.exchanges.base import Handler, ServerExchange
from gruvihttp.limits import Limits, Timeouts
from gruvihttp.net.listening import bind_sockets
from gruvihttp.wsgi import Application

__all__ = ["Environ", "LoggingLogAdapter", "SecureEnviron", "WSGIHandler", "WSGISecureEnviron", "WSGIServer"]

# gevent's own, for programs that import everything from one module
Environ = pywsgi.Environ
LoggingLogAdapter = pywsgi.LoggingLogAdapter
SecureEnviron = pywsgi.SecureEnviron
WSGIHandler = pywsgi.WSGIHandler
WSGISecureEnviron = pywsgi.WSGISecureEnviron

_NEVER_CALLED = ("do_close", "do_handle", "do_read", "handle", "set_handle", "wrap_socket_and_handle")
# What a request itself says; the rest of environ is what `WSGIServer.environ` says, if it says anything.
_OF_REQUEST = frozenset(
    (
        "CONTENT_LENGTH",
        "CONTENT_TYPE",
        "PATH_INFO",
        "QUERY_STRING",
        "REMOTE_ADDR",
        "REMOTE_PORT",
        "REQUEST_METHOD",
        "REQUEST_URI",
        "SCRIPT_NAME",
        "SERVER_PROTOCOL",
        "wsgi.input",
    )
)


class WSGIServer:
    """A WSGI server as gevent.pywsgi has it, served by gruvihttp.

    `listener` is (host, port), ``':8080'``, ``'host:port'``, a port, ``'unix:/path'``, or a listening socket. `spawn`
    is ``'default'``, or the most requests that run at once, as a number or a Pool, or a function that spawns
    greenlets. `log` and `error_log` are ``'default'`` (stderr), None, a Logger or something with ``write``. `ssl_args`
    are ``ssl_context``, or ``certfile``, ``keyfile``, ``ca_certs``, ``cert_reqs``, ``ciphers`` and ``ssl_version``.
    `limits` and `timeouts` are gruvihttp's.

    `handler_class` may have format_request(), log_request() and get_environ() of its own.

    Raises TypeError for a handler, or a subclass of this, with other methods that cannot be honoured, and says what to
    use instead.
    """

    application: Callable[..., Any] | None = None
    handler_class: Any = pywsgi.WSGIHandler
    environ_class: type[dict[str, Any]] = dict
    base_env: dict[str, Any] = {}  # what a subclass wants in every environ; ours has all that PEP 3333 asks for
    log: Any = None
    error_log: Any = None
    backlog = 256
    stop_timeout: float | None = 1

    def __init__(
        self,
        listener: Any,
        application: Callable[..., Any] | None = None,
        backlog: int | None = None,
        spawn: Any = "default",
        log: Any = "default",
        error_log: Any = "default",
        handler_class: Any = None,
        environ: dict[str, Any] | None = None,
        *,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        **ssl_args: Any,
    ) -> None:
        _check_methods(type(self))
        if handler_class is not None:
            self.handler_class = handler_class
        self._handlers = Handlers(self.handler_class)
        if application is not None:
            self.application = application
        if backlog is not None:
            if hasattr(listener, "accept"):
                raise TypeError("backlog must be None when a socket is given, for that listens already")
            self.backlog = backlog
        self.ssl_args = ssl_args
        self._tls = tls_context(ssl_args)
        self._limits = limits
        self._timeouts = timeouts
        self._server: AroundServer | None = None
        self._sockets: list[Any] = []
        self._stopped = Event()
        self._stopped.set()
        self.set_listener(listener)
        self.set_spawn(spawn)
        self.log = log_of(log, 20)  # as logging counts: INFO
        self.error_log = log_of(error_log, 40)  # ERROR
        self.set_environ(environ)

    # -- what it was told ----------------------------------------------------------------------------------------

    def set_listener(self, listener: Any) -> None:
        """Say where to listen: see the class."""
        if hasattr(listener, "accept"):
            if hasattr(listener, "do_handshake"):
                raise TypeError(f"Expected a regular socket, not SSLSocket: {listener!r}")
            self.family, self.address = listener.family, listener.getsockname()
            self._sockets = [listener]
        elif isinstance(listener, str) and listener.startswith("unix:"):
            self.family, self.address = gevent_socket.AF_UNIX, listener.removeprefix("unix:")
        else:
            self.family, self.address = parse_address(listener)

    def set_spawn(self, spawn: Any) -> None:
        """Say how many requests may run at once, or what runs them: see the class."""
        if spawn is None:
            raise ValueError("spawn=None would serve one request at a time in the hub: say spawn=1")
        self.pool = Pool(spawn) if isinstance(spawn, int) else spawn if hasattr(spawn, "spawn") else None
        if self.pool is not None:
            self._spawn = self.pool.spawn
        else:
            self._spawn = None if spawn in ("default", "raw") else spawn

    def set_environ(self, environ: dict[str, Any] | None = None) -> None:
        """Say what is to stand in every environ, above what gruvihttp would say."""
        known = getattr(self, "environ", None) if environ is None else environ
        self.environ = self.environ_class(self.base_env)
        self.environ.update(known or {})
        if self.environ.get("wsgi.errors") is None:
            self.environ["wsgi.errors"] = self.error_log

    def get_environ(self) -> dict[str, Any]:
        """What stands in the environ of one request beside what the request says. For subclasses."""
        return self.environ_class(self.environ)

    # -- what it is ----------------------------------------------------------------------------------------------

    @property
    def socket(self) -> Any:
        """The listening socket. AttributeError when there is none, as gevent has it."""
        if not self._sockets:
            raise AttributeError("socket")
        return self._sockets[0]

    @property
    def started(self) -> bool:
        """Does it serve?"""
        return not self._stopped.is_set()

    @property
    def closed(self) -> bool:
        """Has it no listening socket?"""
        return not self._sockets

    @property
    def ssl_enabled(self) -> bool:
        """Does it speak TLS?"""
        return self._tls is not None

    @property
    def server_host(self) -> str | None:
        """The address of the interface; None for a Unix socket."""
        return self.address[0] if isinstance(self.address, tuple) else None

    @property
    def server_port(self) -> int | None:
        """The port; None for a Unix socket."""
        return self.address[1] if isinstance(self.address, tuple) else None

    def full(self) -> bool:
        """Are as many requests running as may?"""
        return self.pool is not None and bool(self.pool.full())

    def __repr__(self) -> str:
        state = "started" if self.started else "closed" if self.closed else "bound"
        return f"<{type(self).__name__} at {self.address} {state}>"

    # -- serving -------------------------------------------------------------------------------------------------

    def init_socket(self) -> None:
        """Bind and listen, without accepting. `start` does it too."""
        if not self._sockets:
            bound = bind_sockets(self.address, backlog=self.backlog)
            self._sockets = [
                gevent_socket.socket(sock.family, sock.type, sock.proto, fileno=sock.detach()) for sock in bound
            ]
            self.address = self._sockets[0].getsockname()
        self.update_environ()

    def update_environ(self) -> None:
        """Called when the address is known. For subclasses; SERVER_NAME and SERVER_PORT are those of the connection."""

    @classmethod
    def get_listener(cls, address: Any, backlog: int | None = None, family: int | None = None) -> Any:
        """A socket that listens at `address`, to be given to servers, or to be inherited by processes."""
        bound = bind_sockets(address, backlog=cls.backlog if backlog is None else backlog)
        chosen = next((sock for sock in bound if family in (None, sock.family)), bound[0])
        for sock in bound:
            if sock is not chosen:
                sock.close()
        return gevent_socket.socket(chosen.family, chosen.type, chosen.proto, fileno=chosen.detach())

    def start(self) -> None:
        """Begin to serve, and return. May be called again after `stop`."""
        if self.started:
            return
        self.init_socket()
        application = _Application(self._run, self._arrange, self._call)
        self._server = AroundServer(application, limits=self._limits, timeouts=self._timeouts)
        try:
            for sock in self._sockets:  # the socket stays the caller's, so ours is another descriptor of it
                self._server.listen(os.dup(sock.fileno()), self._tls or False)
        except BaseException:
            self.close()
            raise
        self._stopped.clear()

    def close(self) -> None:
        """Stop listening. Idle connections end, running requests go on. Returns at once; idempotent."""
        server, self._server = self._server, None
        if server is not None:
            server.drain()
        for sock in self._sockets:
            sock.close()
        if self._sockets and isinstance(self.address, str) and not self.address.startswith("\0"):
            with suppress(OSError):
                os.unlink(self.address)
        self._sockets = []
        self._stopped.set()

    def stop(self, timeout: float | None = None) -> None:
        """Stop listening, wait `timeout` seconds for running requests, by default `stop_timeout`.

        What is left then is aborted if there is a pool, and goes on if there is none.
        """
        server = self._server
        self.close()
        patience = self.stop_timeout if timeout is None else timeout
        if server is None:
            return
        if self.pool is None:
            server.join(patience)
            return
        server.close(patience)
        if hasattr(self.pool, "kill"):
            self.pool.kill(block=True, timeout=1)

    def serve_forever(self, stop_timeout: float | None = None) -> None:
        """Start if that has not been done, and serve until `stop` or `close` is called or an exception comes."""
        if not self.started:
            self.start()
        try:
            self._stopped.wait()
        finally:  # in another greenlet, since what was raised here may be a Timeout that goes off again
            gevent.spawn(self.stop, stop_timeout).join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- one request ---------------------------------------------------------------------------------------------

    def _run(self, exchange: ServerExchange, serve: Handler) -> None:
        """Serve an exchange where `spawn` says, and log it."""
        begun = time()
        if self._spawn is None:
            serve(exchange)
        else:
            _run_elsewhere(self._spawn, exchange, serve)
        if self._handlers.logs:
            self._handlers.log(self, exchange, begun)
        elif not isinstance(self.log, NoLog):
            self.log.write(log_line(exchange, time() - begun) + "\n")

    def _arrange(self, exchange: ServerExchange, environ: dict[str, Any]) -> None:
        """Put into an environ what `environ` and the handler are to say in it."""
        for key, value in self.get_environ().items():
            if key not in _OF_REQUEST and not (key.startswith("HTTP_") and key in environ):
                environ[key] = value
        if self._handlers.changes_environ:
            self._handlers.change(self, exchange, environ)

    def _call(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Call the application with an environ of the class that is wanted."""
        if self.environ_class is not dict:
            environ = self.environ_class(environ)
        if self.application is None:
            raise TypeError("no application was given to WSGIServer")
        result: Iterable[bytes] = self.application(environ, start_response)
        return result


class _Application:
    """What gruvihttp serves on behalf of a `WSGIServer`."""

    def __init__(self, around: Callable[..., None], arrange: Callable[..., None], call: Application) -> None:
        self.around = around
        self.arrange = arrange
        self._call = call

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return self._call(environ, start_response)


def _run_elsewhere(spawn: Callable[..., Any], exchange: ServerExchange, serve: Handler) -> None:
    """Serve an exchange in a greenlet that `spawn` makes, and wait for it."""
    failures: list[BaseException] = []
    done = Event()

    def run() -> None:
        try:
            serve(exchange)
        except BaseException as exc:
            failures.append(exc)
        finally:
            done.set()

    greenlet = spawn(run)
    wait = getattr(greenlet, "join", done.wait)  # a greenlet that is killed before it begins never sets the event
    wait()
    if failures and not isinstance(failures[0], gevent.GreenletExit):
        raise failures[0]


def _check_methods(server_class: type[WSGIServer]) -> None:
    """Refuse a subclass with methods that gevent's server calls and this one does not: they would be missed."""
    found = sorted(name for name in _NEVER_CALLED if hasattr(server_class, name))
    if found:
        names = ", ".join(found)
        raise TypeError(
            f"{server_class.__name__} has {names}, which cannot be honoured: gruvihttp accepts and reads by itself. "
            "Pass spawn= to say what runs requests, ssl_context= for TLS, or wrap the application"
        )
