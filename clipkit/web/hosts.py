"""The names that a server answers to, which stops DNS rebinding.

A site that a browser of this machine shows could let its own name lead to 127.0.0.1 and then read
what a server there answers, if that server took any name for its own.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
WILDCARDS = frozenset({"0.0.0.0", "::"})

_HOST = re.compile(r"((?P<name>[\w.-]+)|\[(?P<address>[\da-fA-F:.]+)\])(:\d{1,5})?", re.ASCII)


@dataclass(frozen=True)
class AllowedHosts:
    """Names and addresses under which a server is reached."""

    names: frozenset[str] = frozenset()  # in small letters, without a port; besides the local ones
    any_address: bool = False  # whether every IP address may be this machine's

    def __contains__(self, host: object) -> bool:
        """Return whether a Host header, with or without a port, is one of this server."""
        name = host_name(host) if isinstance(host, str) else ""
        if name in LOCAL_NAMES or name in self.names:
            return True
        return self.any_address and is_address(name)


def allowed_hosts(host: str, others: Iterable[str] = ()) -> AllowedHosts:
    """Return the names of a server.

    Args:
        host: The address that it is bound to.
        others: Further names under which it is reached, such as a proxy's.

    Returns:
        Those, and the local ones; bound to a wildcard also every IP address.
    """
    names = frozenset({host.lower(), *map(host_name, others)}) - WILDCARDS - {""}
    return AllowedHosts(names, any_address=host in WILDCARDS)


def host_name(host: str) -> str:
    """Return a host without its port and brackets, in small letters; "" for what is none."""
    match = _HOST.fullmatch(host)
    return (match["name"] or match["address"]).lower() if match else ""


def is_address(name: str) -> bool:
    """Return whether a host's name is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
