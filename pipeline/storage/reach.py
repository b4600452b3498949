"""Which addresses outside the images root a job may reach, where its clicks may name any.

Whoever writes click files is not always who runs the job: an address in them reaches no further than the job itself
does, and never what a cloud serves its machines under link-local addresses (credentials, for one).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

# Of these protocols the first part of an address is a machine, of all others a bucket or a folder.
OF_HOSTS = {"http", "https", "ftp", "sftp", "ssh", "smb", "webdav", "hdfs"}

# Several names of one protocol.
SAME_PROTOCOL = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "local": "file"}


class LinkLocal(ValueError):
    """An address that led to a link-local one, by its name or by a redirect."""


def out_of_reach(address: str, own: Sequence[str]) -> str | None:
    """Why an image's address is refused, or None; `own` are the job's addresses. Keys without `://` are the root's."""
    if "::" in address:
        return "it is a chain of addresses"
    if "\0" in address:
        return "it has a zero byte"
    protocol = _protocol(address)
    if "://" not in address and not address.startswith("/"):
        return None
    allowed = sorted({_protocol(each) for each in own})
    if protocol not in allowed:
        return f"its protocol is {protocol}, the job's own are {', '.join(allowed)}"
    if protocol in OF_HOSTS:
        host = _host(address)
        if is_link_local(host):
            return "it is link-local"
        hosts = sorted({_host(each) for each in own if _protocol(each) in OF_HOSTS})
        if host not in hosts:
            return f"its host is {host}, the job's own are {', '.join(hosts)}"
    return None


def is_link_local(host: str) -> bool:
    """Whether a host is written as a link-local address, in any of the ways that a resolver understands."""
    text = host.strip("[]").partition("%")[0]
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        try:
            found = ipaddress.ip_address(socket.inet_aton(text))  # 169.254.43518, 0xa9fea9fe, 2852039166
        except (OSError, UnicodeError):
            return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_link_local)


def _protocol(address: str) -> str:
    protocol = address.split("://", 1)[0].lower() if "://" in address else "file"
    return SAME_PROTOCOL.get(protocol, protocol)


def _host(address: str) -> str:
    return (urlsplit(address).hostname or "").lower().rstrip(".")
