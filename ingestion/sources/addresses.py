"""Which addresses a source may connect to: none inside the house unless an admin named it."""

import socket
from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from app.domain.errors import SourceRefused, SourceUnavailable

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
_NAT64 = ip_network("64:ff9b::/96")


class AddressGuard:
    """Says of each address whether a source may connect to it."""

    def __init__(self, allowed: Sequence[Network] = ()) -> None:
        self._allowed = allowed

    def check(self, host: str, address: str) -> None:
        """Raise SourceRefused unless the address is public or in an allowed network."""
        for seen in _meanings(ip_address(address.partition("%")[0])):
            if not (_is_public(seen) or any(seen in network for network in self._allowed)):
                raise SourceRefused(
                    f"{host!r} is at {address}, a private or local address; to let this source "
                    "connect there, name its network in options.allow_networks"
                )

    def check_host(self, host: str, port: int) -> None:
        """Resolve a host and check each of its addresses; for drivers that resolve by themselves.

        Raises:
            SourceUnavailable: The name has no address.
            SourceRefused: One of them is not allowed.
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise SourceUnavailable(f"the name {host!r} cannot be resolved: {error}") from error
        for *_, address in found:
            self.check(host, str(address[0]))


def _is_public(address: Address) -> bool:
    return address.is_global and not address.is_multicast


def _meanings(address: Address) -> list[Address]:
    """The address and the IPv4 ones that it stands for."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    inner: list[IPv4Address | None] = [address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        inner.append(IPv4Address(int(address) & 0xFFFFFFFF))
        return [one for one in inner if one is not None]
    return [address, *(one for one in inner if one is not None)]
