"""`Networks`: a set of peers, by address, by network, or because they connect over a Unix socket."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from gruvihttp.net.sockets import Address

__all__ = ["Networks", "meant_by"]

_MOST_ANSWERS = 1024


class Networks:
    """A set of peers: ``Networks(["127.0.0.1", "10.0.0.0/8", "::1", "unix"])``.

    ``in`` takes an address of a socket. An IPv4 address that is mapped into IPv6 is the same as itself.
    Raises ValueError for a name that is none of these, TypeError for a single str.
    """

    def __init__(self, names: Iterable[str]) -> None:
        if isinstance(names, str):
            raise TypeError(f"a list of addresses is wanted, not {names!r} alone")
        self._names = list(names)
        self._unix = "unix" in self._names
        self._networks = [_network(name) for name in self._names if name != "unix"]
        self._answers: dict[str, bool] = {}  # to what was asked lately: proxies ask about themselves all the time

    def __repr__(self) -> str:
        return f"Networks({self._names!r})"

    def __contains__(self, address: Address) -> bool:
        if address is None:
            return False
        if not isinstance(address, tuple):
            return self._unix
        return self.has_host(str(address[0]))

    def has_host(self, host: str) -> bool:
        """Whether an address without port, in text, is among them. False for what is no address."""
        known = self._answers.get(host)
        if known is None:
            if len(self._answers) >= _MOST_ANSWERS:
                self._answers.clear()
            known = self._answers[host] = self._look_for(host)
        return known

    def _look_for(self, host: str) -> bool:
        try:
            found: IPv4Address | IPv6Address = ip_address(host)
        except ValueError:
            return False
        if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return any(found in network for network in self._networks)

    @property
    def has_unix(self) -> bool:
        """Whether peers at Unix sockets are among them."""
        return self._unix


def meant_by(option: bool | Iterable[str]) -> Callable[[Address], bool]:
    """Whether an option that is True, False, or what `Networks` takes, means the peer at an address. Raises as that."""
    if isinstance(option, bool):
        return lambda peer: option
    networks = Networks(option)
    return lambda peer: peer in networks


def _network(name: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(name)
    except ValueError as exc:
        if name == "*":
            advice = "name the network that they are in, such as 172.16.0.0/12"
        elif "has host bits set" in str(exc):
            advice = f"write {ip_network(name, strict=False)}, or leave out /{name.partition('/')[2]}"
        else:
            advice = "write 127.0.0.1, 10.0.0.0/8, ::1 or unix"
        raise ValueError(f"{name!r} is neither an address nor a network: {advice}") from None
