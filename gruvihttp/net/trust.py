"""TLS contexts of clients, by the options that users name; made once for each, since reading authorities takes long."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from os import PathLike, fspath
from pathlib import Path
from typing import TypeAlias

__all__ = ["CertOption", "VerifyOption", "client_context_for"]

PathOption: TypeAlias = str | PathLike[str]
# True: the system's authorities. A path: those in this file or directory. False: any certificate is accepted.
VerifyOption: TypeAlias = bool | PathOption
# A file with certificate and key, or one for each.
CertOption: TypeAlias = PathOption | tuple[PathOption, PathOption] | None


def client_context_for(
    verify: VerifyOption = True, cert: CertOption = None, alpn: tuple[str, ...] = ()
) -> ssl.SSLContext:
    """The context that checks servers as `verify` says and shows them `cert`; `alpn` are the protocols to offer.

    The same options give the same context.

    Raises OSError (also as ssl.SSLError) for files that cannot be read or used.
    """
    authorities = verify if isinstance(verify, bool) else fspath(verify)
    files = tuple(fspath(one) for one in cert) if isinstance(cert, tuple) else () if cert is None else (fspath(cert),)
    return _context(authorities, files, alpn)


@lru_cache(maxsize=64)
def _context(authorities: bool | str, files: tuple[str, ...], alpn: tuple[str, ...]) -> ssl.SSLContext:
    if isinstance(authorities, str):
        is_directory = Path(authorities).is_dir()
        with _naming(authorities):
            context = ssl.create_default_context(
                cafile=None if is_directory else authorities, capath=authorities if is_directory else None
            )
    else:
        context = ssl.create_default_context()
        if not authorities:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif not context.get_ca_certs() and not _has_directory():
            _add_bundle(context)
    if files:
        with _naming(*files):
            context.load_cert_chain(*files)
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


@contextmanager
def _naming(*files: str) -> Iterator[None]:
    """Have an error say which file it is about, which those of ssl do not."""
    try:
        yield
    except ssl.SSLError as exc:
        exc.add_note(f"in {' or '.join(files)}")
        raise
    except OSError as exc:
        exc.filename = next((file for file in files if not os.access(file, os.R_OK)), files[0])
        raise


def _has_directory() -> bool:
    """Whether the system keeps authorities in a directory, of which a context reads single files when it needs them."""
    directory = ssl.get_default_verify_paths().capath
    return directory is not None and any(Path(directory).iterdir())


def _add_bundle(context: ssl.SSLContext) -> None:
    """The system has no authorities, as in small containers: use the bundle of ``certifi`` if that is installed."""
    try:
        import certifi
    except ImportError:
        return
    context.load_verify_locations(certifi.where())
