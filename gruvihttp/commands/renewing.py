"""What a serving process opens anew on request: the file of its log, and its certificates."""

from __future__ import annotations

import signal
from collections.abc import Callable

import click

from gruvihttp.certificates import Certificates
from gruvihttp.commands.logfile import LogFile
from gruvihttp.systemd import Notifier

__all__ = ["Renewal"]


class Renewal:
    """The log and the certificates of a process, as far as it has any."""

    def __init__(
        self, log_file: LogFile | None, certificates: Certificates | None, notifier: Notifier | None = None
    ) -> None:
        self._log_file = log_file
        self._certificates = certificates
        self._notifier = notifier or Notifier()

    def signals(self) -> dict[int, Callable[[], object]]:
        """What to do on which signal.

        SIGHUP is left alone where nothing can be renewed, since a terminal sends it when it closes. A service manager
        that sends it means a reload, even if there is nothing to do.
        """
        actions: dict[int, Callable[[], object]] = {}
        if self._log_file is not None:
            actions[signal.SIGUSR1] = self.reopen
        if self._log_file is not None or self._certificates is not None or self._notifier.is_heard:
            actions[signal.SIGHUP] = self.renew
        return actions

    def reopen(self) -> None:
        """Open the file of the log anew."""
        if self._log_file is None:
            return
        try:
            self._log_file.reopen()
        except OSError as exc:
            _report(f"cannot write to {self._log_file.path}: {exc.strerror}; the log goes on where it was")

    def renew(self) -> None:
        """Open everything anew."""
        self._notifier.reloading()
        self.reopen()
        if self._certificates is not None and self._certificates.reload():
            _report("the certificates have been loaded anew")
        self._notifier.ready()


def _report(text: str) -> None:
    click.echo(f"gruvihttp: {text}", err=True)
