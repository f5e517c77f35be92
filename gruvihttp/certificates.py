"""`Certificates`: what a server shows to its clients, and whose certificates it takes, renewed when the files are.

It is a callable that makes contexts, as ``listen(ssl=...)`` takes it. Connections and files' owners are not known here.
"""

from __future__ import annotations

import logging
import os
import ssl
from _ssl import _SSLContext
from collections.abc import Callable, Iterator, Mapping
from time import monotonic
from typing import Any, Literal, NamedTuple, TypeAlias

from gruvihttp.net.sockets import RawSocket

__all__ = ["CertificateError", "Certificates", "VerifyClient"]

VerifyClient: TypeAlias = Literal["required", "optional"]
Path: TypeAlias = str | os.PathLike[str]

_PEM = "give them in PEM format, the key with the certificate or in a file of its own"

log = logging.getLogger("gruvihttp.server")


class CertificateError(ValueError):
    """A certificate, key or list of authorities that cannot be used. `advice` says what to do about it."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what)
        self.advice = advice


class _LockedKey(Exception):
    """A key has a password."""


def _no_password() -> str:
    raise _LockedKey  # openssl would ask at the terminal, for each renewal anew


class _Pair(NamedTuple):
    certificate: str
    key: str | None

    def __str__(self) -> str:
        return self.certificate if self.key is None else f"{self.certificate} with {self.key}"


class Certificates:
    """Contexts for a server, with the certificate chain and the key of two files, or of one (PEM).

    `sni` has other certificates, each a file or a pair of files, by the name that a client asks for: a host, or
    ``*.example.com`` for all of one level. `client_ca` is a file with authorities for certificates of clients, which
    must show one then, or may with ``verify_client="optional"``. `http2` is whether HTTP/2 is offered.

    When a connection comes and the files have changed, they are loaded anew; `reload` does that at once. What cannot be
    used is reported, and what is in use stays.

    Raises CertificateError.
    """

    LOOK_SECONDS = 1.0  # at most one look at the files in so many seconds

    def __init__(
        self,
        certificate: Path,
        key: Path | None = None,
        *,
        sni: Mapping[str, Path | tuple[Path, Path | None]] | None = None,
        client_ca: Path | None = None,
        verify_client: VerifyClient = "required",
        http2: bool = True,
        report: Callable[[str], object] = log.error,
    ) -> None:
        if verify_client not in ("required", "optional"):
            raise ValueError(f"verify_client must be 'required' or 'optional', not {verify_client!r}")
        if verify_client == "optional" and client_ca is None:
            raise ValueError("verify_client='optional' needs to know whom to trust: client_ca='ca.pem'")
        self._pair = _pair_of((certificate, key))
        self._named_pairs = {name.lower().rstrip("."): _pair_of(files) for name, files in (sni or {}).items()}
        self._client_ca = None if client_ca is None else os.fspath(client_ca)
        self._verify_mode = ssl.CERT_REQUIRED if verify_client == "required" else ssl.CERT_OPTIONAL
        self._alpn = ["h2", "http/1.1"] if http2 else ["http/1.1"]
        self._report = report
        self._seen = self._look()
        self._next_look = monotonic() + self.LOOK_SECONDS
        self._context = self._load()

    def __call__(self, sock: RawSocket) -> ssl.SSLContext:
        """The context for a new connection."""
        now = monotonic()
        if now >= self._next_look:
            self._next_look = now + self.LOOK_SECONDS
            if self._look() != self._seen:
                self.reload()
        return self._context

    def reload(self) -> bool:
        """Load the files anew, for connections that come from now on. Whether they can be used."""
        self._seen = self._look()
        try:
            self._context = self._load()
        except CertificateError as exc:
            self._report(f"{exc}; what was loaded before stays in use")
            return False
        return True

    def _look(self) -> list[tuple[int, int, int] | None]:
        """What changes when a file does."""
        return [_stamp(file) for file in self._files()]

    def _files(self) -> Iterator[str]:
        for pair in (self._pair, *self._named_pairs.values()):
            yield pair.certificate
            if pair.key is not None:
                yield pair.key
        if self._client_ca is not None:
            yield self._client_ca

    def _load(self) -> ssl.SSLContext:
        context = self._context_of(self._pair)
        if self._named_pairs:
            named = {name: self._context_of(pair) for name, pair in self._named_pairs.items()}

            def choose(session: Any, name: str | None, _: ssl.SSLContext) -> None:
                chosen = _find(named, name)
                if chosen is not None:
                    session.context = chosen

            _set_sni_callback(context, choose)
        return context

    def _context_of(self, pair: _Pair) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(pair.certificate, pair.key, _no_password)
        except _LockedKey as exc:
            file = pair.key or pair.certificate
            raise CertificateError(
                f"cannot use {pair}: the key is encrypted, and nobody can be asked for its password",
                f"decrypt it: openssl pkey -in {file} -out plain.key",
            ) from exc
        except ssl.SSLError as exc:
            if exc.reason == "KEY_VALUES_MISMATCH":
                raise CertificateError(
                    f"cannot use {pair}: the key belongs to another certificate", "give its own key"
                ) from exc
            reason = exc.reason or "no certificate with its key is there"
            raise CertificateError(f"cannot use {pair}: {reason}", _PEM) from exc
        except OSError as exc:
            raise CertificateError(f"cannot use {pair}: {exc.strerror}", "give files that this user can read") from exc
        if self._client_ca is not None:
            context.verify_mode = self._verify_mode
            _trust(context, self._client_ca)
        context.set_alpn_protocols(self._alpn)
        return context


def _set_sni_callback(context: ssl.SSLContext, callback: Callable[[Any, str | None, ssl.SSLContext], None]) -> None:
    """As the attribute of the context does it, but where gevent has patched ssl: its own expects its own sockets."""
    descriptor: Any = _SSLContext.sni_callback
    descriptor.__set__(context, callback)


def _trust(context: ssl.SSLContext, file: str) -> None:
    try:
        context.load_verify_locations(file)
    except ssl.SSLError as exc:
        reason = exc.reason or "no certificate is there"
        raise CertificateError(
            f"cannot use {file} for clients: {reason}", "give the certificates of authorities in PEM format"
        ) from exc
    except OSError as exc:
        raise CertificateError(
            f"cannot use {file} for clients: {exc.strerror}", "give a file that this user can read"
        ) from exc


def _pair_of(files: Path | tuple[Path, Path | None]) -> _Pair:
    if isinstance(files, tuple):
        certificate, key = files
        return _Pair(os.fspath(certificate), None if key is None else os.fspath(key))
    return _Pair(os.fspath(files), None)


def _stamp(file: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _find(named: Mapping[str, ssl.SSLContext], name: str | None) -> ssl.SSLContext | None:
    """The context for the name that a client asks for: the same name, or the pattern for its level."""
    wanted = (name or "").lower().rstrip(".")
    return named.get(wanted) or named.get(f"*.{wanted.partition('.')[2]}")
