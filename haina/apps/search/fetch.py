"""A page of the web, fetched so that nobody can send us where only we may go.

What names a page is data: a search engine, a redirect. So only http and https, ports 80 and 443, a host whose every
address is public, asked for once: the connection goes to the address that was looked at (no rebinding), and a redirect
is looked at anew. A page may have so many bytes and take so much time, all of it together but for what the resolver
takes; nothing is unpacked, no cookie, no name, no password and no proxy of the environment is used. `private` lifts the
rules of ports and addresses: for an intranet, by the person who asks.

It knows addresses and HTTP, by the standard library; what a page says, pages.py and extract.py know.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import quote, urljoin, urlsplit

from haina import __version__
from haina.apps.search.problem import Unreadable
from haina.wording import say

SECONDS = 15.0
MOST_BYTES = 4 << 20
REDIRECTS = 5
PORTS = {"http": 80, "https": 443}
MOVED = (301, 302, 303, 307, 308)
PAGES = ("text/html", "application/xhtml+xml", "text/plain", "text/markdown", "application/pdf")
HEADERS = {"User-Agent": f"haina/{__version__}", "Accept-Encoding": "identity", "Connection": "close"}
GLOBAL = IPv6Network("2000::/3")
NAT64 = IPv6Network("64:ff9b::/96")
_SAFE = "/%:=&?~+!$,;'@()*[]"  # of a path that is quoted already


@dataclass(frozen=True)
class Page:
    """What came: from where in the end, of what kind, in which charset by its header, "" if it says none."""

    url: str
    kind: str
    charset: str
    data: bytes


@dataclass(frozen=True)
class Place:
    """A URL taken apart; path: with the query, as it is sent."""

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def of(cls, url: str) -> Place:
        """Unreadable: it is no http or https URL, or has a name and password."""
        try:
            parts = urlsplit(url.strip())
            host = parts.hostname or ""
            host = host if ":" in host else host.encode("idna").decode()
            port = parts.port or PORTS.get(parts.scheme, 0)
            path, query = quote(parts.path or "/", safe=_SAFE), quote(parts.query, safe=_SAFE)
        except (ValueError, UnicodeError):
            raise Unreadable(say("no URL", "不是网址")) from None
        if parts.scheme not in PORTS or not host or not host.isprintable() or set(host) & set(' \\@/?#"<>'):
            raise Unreadable(say("no http or https URL", "不是 http 或 https 网址"))
        if parts.username is not None:
            raise Unreadable(say("a URL with a name in it", "网址中带有用户名"))
        return cls(parts.scheme, host, port, f"{path}?{query}" if query else path)


def public(address: str) -> bool:
    """Whether an IP address is one of the open internet, whatever form it hides in."""
    found = ip_address(address.split("%")[0])
    if isinstance(found, IPv6Address):
        if found in NAT64:
            return public(str(IPv4Address(int(found) & 0xFFFFFFFF)))
        if found.ipv4_mapped or found.sixtofour:
            return public(str(found.ipv4_mapped or found.sixtofour))
        return found in GLOBAL and found.is_global and not found.teredo
    return found.is_global and not (found.is_multicast or found.is_reserved)


def addresses(place: Place, *, private: bool = False) -> list[str]:
    """The addresses of a host. Unreadable: it has none, or one that is not public."""
    if not private and place.port != PORTS[place.scheme]:
        raise Unreadable(say(f"port {place.port} is not asked", f"不访问端口 {place.port}"))
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Unreadable(say(f"{place.host} is not known", f"找不到主机 {place.host}")) from None
    hosts = [str(each[4][0]) for each in found]
    if not private and not all(map(public, hosts)):
        raise Unreadable(say(f"{place.host} is not on the open internet", f"{place.host} 不在公网上"))
    return list(dict.fromkeys(hosts))


class _Connection(HTTPConnection):
    """To an address that was looked at; the name is for the certificate and the header alone."""

    def __init__(self, place: Place, address: str, seconds: float):
        super().__init__(place.host, place.port, timeout=seconds)
        self.default_port = PORTS[place.scheme]
        self._address, self._tls = address, place.scheme == "https"

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), self.timeout)
        if self._tls:
            self.sock = _certificates().wrap_socket(self.sock, server_hostname=self.host)

    def cut(self) -> None:
        """End it from another thread: whoever reads finds its end."""
        with suppress(OSError):  # it may have ended by itself
            if self.sock:
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


@cache
def _certificates() -> ssl.SSLContext:
    return ssl.create_default_context()


def fetch(
    url: str,
    *,
    private: bool = False,
    kinds: Collection[str] = PAGES,
    headers: Mapping[str, str] | None = None,
    redirects: int = REDIRECTS,
    seconds: float = SECONDS,
) -> Page:
    """The page at a URL, or where that leads. Unreadable: why it is not fetched, without the URL, which may be secret.

    private: any port, and addresses that are not public; headers: sent to the first host, and to none it leads to.
    """
    ends = time.monotonic() + seconds
    for _ in range(redirects + 1):
        place = Place.of(url)
        with _asked(place, addresses(place, private=private), headers or {}, ends) as answer:
            if answer.status not in MOVED:
                page = _page(url, answer, kinds)
                if time.monotonic() >= ends:  # a page without a length looks whole when it is cut off
                    raise TimeoutError
                return page
            url, headers = urljoin(url, answer.headers.get("Location", "")), None
    raise Unreadable(say("it leads from one place to the next", "重定向次数过多"))


@contextmanager
def _asked(place: Place, hosts: list[str], headers: Mapping[str, str], ends: float) -> Iterator[HTTPResponse]:
    """The answer of the first of the addresses that lets us connect; cut off when the time has come."""
    left = ends - time.monotonic()
    connection = _connected(place, hosts, max(left, 0.1))
    clock = threading.Timer(max(ends - time.monotonic(), 0.1), connection.cut)
    clock.daemon = True
    clock.start()
    try:
        connection.request("GET", place.path, headers={**HEADERS, **headers})
        with connection.getresponse() as answer:
            yield answer
    except (OSError, HTTPException, ValueError) as error:
        over = time.monotonic() >= ends
        reason = say("it takes too long", "耗时过长") if over else say("the connection broke", "连接中断")
        raise Unreadable(reason) from error
    finally:
        clock.cancel()
        connection.close()


def _connected(place: Place, hosts: list[str], seconds: float) -> _Connection:
    for address in hosts:
        connection = _Connection(place, address, seconds / len(hosts))
        with suppress(OSError):
            connection.connect()
            return connection
        connection.close()
    raise Unreadable(say("no connection", "无法连接"))


def _page(url: str, answer: HTTPResponse, kinds: Collection[str]) -> Page:
    kind = answer.headers.get_content_type()
    if answer.status != 200:
        raise Unreadable(say(f"status {answer.status}", f"状态码 {answer.status}"))
    if kind not in kinds:
        raise Unreadable(say(f"{kind[:60]} is not read", f"不读取 {kind[:60]}"))
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise Unreadable(say("packed, though that was not asked for", "内容被压缩，而请求中并未允许"))
    data = answer.read(MOST_BYTES + 1)
    if answer.length and len(data) <= MOST_BYTES:
        raise HTTPException
    if len(data) > MOST_BYTES:
        raise Unreadable(say(f"more than {MOST_BYTES >> 20} MB", f"超过 {MOST_BYTES >> 20} MB"))
    return Page(url, kind, answer.headers.get_content_charset() or "", data)
