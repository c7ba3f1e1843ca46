"""Web: GET over HTTP that outlives broken connections: it waits, comes back and asks for the rest.

Of the standard library alone. huggingface_hub 2.4 was the obvious choice and was measured: it throws a partial file
away when it fails or is killed (file_download.py, `_download_to_tmp_and_move`), does not compare hashes, and would
make our dependencies 33 MiB larger (116 → 149). This module knows URLs, ranges and statuses; it knows no hub.
Covered: connections cut, stalled or refused, busy servers, servers that ignore ranges. Not covered: contents; whoever
asks compares hashes.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse, InvalidURL
from typing import Any
from urllib.parse import urlsplit

from haina import __version__
from haina.wording import say

PIECE_BYTES = 1 << 20
LONGEST_WAIT_S = 60.0
_BUSY = (408, 425, 429, 500, 502, 503, 504)  # statuses after which it is worth asking again


@dataclass(frozen=True)
class Web:
    """How to ask. `tries` in a row without a new byte, the pause after each twice as long, and then no more."""

    token: str = ""  # sent to the host that is asked, not to another to which it redirects
    timeout_s: float = 20.0  # of silence
    wait_s: float = 1.0  # after the first failure
    tries: int = 6

    def read(self, url: str, what: str, *, limit_bytes: int) -> bytes:
        """A small document. ValueError, one line: why there is none of `what`, and the cure."""
        for failed in range(1, self.tries + 1):
            try:
                with self._open(url, 0) as answer:
                    content = answer.read(limit_bytes + 1)
                    if answer.length and len(content) <= limit_bytes:
                        raise _cut_off()
            except (OSError, HTTPException) as error:
                if isinstance(_cause(error), socket.gaierror | ConnectionRefusedError):
                    raise _unreachable(url, error) from None  # offline, or a wrong address: no reason to wait
                self._wait(url, what, error, failed)
            else:
                if len(content) > limit_bytes:
                    raise _wrong(what, f"more than {limit_bytes:,} bytes", f"超过 {limit_bytes:,} 字节")
                return content
        raise AssertionError("the last failure raises")

    def pieces(self, url: str, start: int, size: int) -> Iterator[bytes]:
        """Bytes start..size of a file of `size` bytes, in order and each once, however often the connection breaks."""
        at, failed = start, 0
        while at < size:
            try:
                with self._open(url, at) as answer:
                    for piece in _body(answer, url, at, size):
                        at, failed = at + len(piece), 0
                        yield piece
            except (OSError, HTTPException) as error:
                failed += 1
                self._wait(url, url, error, failed)

    def _open(self, url: str, start: int) -> HTTPResponse:
        assert urlsplit(url).scheme in ("http", "https"), "the caller sees to it: file: would be read"
        request = urllib.request.Request(url, headers={"User-Agent": f"haina/{__version__}"})
        if self.token:
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        if start:
            request.add_header("Range", f"bytes={start}-")
        answer: HTTPResponse = urllib.request.build_opener(_Redirects).open(request, timeout=self.timeout_s)
        return answer

    def _wait(self, url: str, what: str, error: OSError | HTTPException, failed: int) -> None:
        """Sleep before the next try; ValueError if there is none to make."""
        status = error.code if isinstance(error, urllib.error.HTTPError) else None
        if status is not None and status not in _BUSY:
            raise _refused(what, status)
        hopeless = isinstance(_cause(error), ssl.SSLCertVerificationError | InvalidURL)
        if hopeless or failed >= self.tries:
            raise _unreachable(url, error)
        wait_s = self.wait_s * 2 ** (failed - 1)
        asked = error.headers.get("Retry-After", "") if isinstance(error, urllib.error.HTTPError) else ""
        time.sleep(min(max(wait_s, float(asked) if asked.isdecimal() else 0.0), LONGEST_WAIT_S))


class _Redirects(urllib.request.HTTPRedirectHandler):
    """The library's rules; also 308, which Python 3.10 does not know, and the token as long as the host is the same.

    Nothing but http and https is followed, and with a token no https address to one that anybody may read or forge.
    """

    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        scheme = urlsplit(newurl).scheme
        downgraded = scheme == "http" and req.type == "https" and req.has_header("Authorization")
        if scheme not in ("http", "https") or downgraded:
            raise _wrong(
                _host(req.full_url),
                f"it sends us to {scheme}://, which is not followed; try another mirror with HF_ENDPOINT or --from",
                f"它指向 {scheme}:// 地址，不予跟随；请用 HF_ENDPOINT 或 --from 换一个镜像",
            )
        following = super().redirect_request(req, fp, 307 if code == 308 else code, msg, headers, newurl)
        if following and _host(newurl) == _host(req.full_url):
            following.unredirected_hdrs.update(req.unredirected_hdrs)
        return following


def _body(answer: HTTPResponse, url: str, at: int, size: int) -> Iterator[bytes]:
    """The body from byte `at` on, at most to `size`. A server that ignores the range sends what we have again."""
    if answer.status == 206:
        sent = answer.headers.get("Content-Range", "")
        if not re.fullmatch(rf"bytes {at}-\d+/({size}|\*)", sent):
            raise _changed(url, sent)
    else:
        if answer.length not in (None, size):
            raise _changed(url, f"{answer.length:,}")
        skipped = 0
        while skipped < at:
            skipped += len(_some(answer, at - skipped))
    while at < size:
        piece = _some(answer, size - at)
        at += len(piece)
        yield piece


def _some(answer: HTTPResponse, most: int) -> bytes:
    """What has arrived, without waiting for a whole piece: so a slow line shows progress and loses little."""
    piece = answer.read1(min(PIECE_BYTES, most))
    if not piece:
        raise _cut_off()
    return piece


def _cut_off() -> ConnectionError:
    return ConnectionError(say("the connection ended early", "连接提前断开"))


def _cause(error: OSError | HTTPException) -> object:
    return error.reason if isinstance(error, urllib.error.URLError) else error


def _host(url: str) -> str:
    """Scheme, name and port."""
    return "://".join(urlsplit(url)[:2])


def _unreachable(url: str, error: OSError | HTTPException) -> ValueError:
    cause, host = _cause(error), _host(url)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _wrong(
            host,
            "its certificate is not trusted here; set SSL_CERT_FILE to the certificates of your system",
            "本机不信任其证书；请把 SSL_CERT_FILE 设为系统的证书文件",
        )
    if isinstance(error, urllib.error.HTTPError):
        en, zh = f"it keeps answering {error.code}", f"一直返回 {error.code}"
    elif isinstance(cause, TimeoutError):
        en, zh = "no answer in time", "等待超时"
    elif isinstance(cause, socket.gaierror):
        en, zh = "no such host, or this machine is offline", "找不到这个主机，或本机未联网"
    else:
        en = zh = str(cause) or type(cause).__name__
    return _wrong(
        host,
        f"{en}; try again later (what has arrived is kept), or another mirror with HF_ENDPOINT or --from",
        f"{zh}；请稍后再试（已下载的部分会保留），或用 HF_ENDPOINT、--from 换一个镜像",
    )


def _refused(what: str, status: int) -> ValueError:
    said = {
        401: (
            "not there, or not public; check the name, or set HF_TOKEN",
            "不存在或不公开；请核对名称，或设置 HF_TOKEN",
        ),
        403: (
            "access is not granted; accept its terms on the hub's page, then set HF_TOKEN",
            "没有访问权限；请先在其网页上接受条款，再设置 HF_TOKEN",
        ),
        404: ("not there; check the name and the revision", "不存在；请核对名称与版本"),
    }
    en, zh = said.get(status, (f"refused with status {status}", f"被拒绝，状态码 {status}"))
    return _wrong(what, en, zh)


def _changed(url: str, found: str) -> ValueError:
    return _wrong(
        url,
        f"another size than the hub listed ({found}); start the same command again",
        f"大小与站点所列不符（{found}）；请重新运行同一命令",
    )


def _wrong(where: str, en: str, zh: str) -> ValueError:
    return ValueError(say(f"{where}: {en}", f"{where}：{zh}"))
