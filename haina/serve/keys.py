"""Keys: who may ask, and how much. A file of names and hashes; the keys themselves are nowhere.

A line of the file is `NAME sha256:HEX [per-minute=N] [at-once=N] [metrics]`. A key is 256 random bits, so its plain
SHA-256 tells nobody the key. The file is read again when it changes: a line taken out is a key taken back.
It knows ASGI; it does not know models or dialects. The name goes on as the request's tenant.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from haina.serve.asgi import App, Receive, Scope, Send, counted, header, refuse
from haina.serve.errors import ApiError
from haina.serve.logs import Log, about
from haina.wording import say

PREFIX = "haina-"
LOOK_AGAIN_S = 1.0  # at the file
COME_AGAIN_S = 1  # told to whoever has too many requests at once
_LINE = re.compile(r"(?P<name>[\w.@-]{1,64})\s+sha256:(?P<digest>[0-9a-f]{64})(?P<limits>(\s+\S+)*)")
_SHORT = re.compile(r"[a-z-]{1,16}(=[\w.-]{0,12})?")  # no key is
_LIMITS = ("per-minute", "at-once")
METRICS = "metrics"


@dataclass(frozen=True)
class Key:
    """None: no limit."""

    name: str
    per_minute: int | None = None
    at_once: int | None = None
    metrics: bool = False  # may read /metrics, which names all keys


def read_keys(file: Path) -> dict[str, Key]:
    """Keys by the SHA-256 of what clients send. ValueError names the line that is wrong, and never a key."""
    keys: dict[str, Key] = {}
    for number, line in enumerate(file.read_text("utf-8-sig").splitlines(), start=1):
        line = line.partition("#")[0].strip()
        if not line:
            continue
        found = _LINE.fullmatch(line)
        limits = _limits(found["limits"]) if found else None
        if found is None or limits is None:
            en, zh = _wrong_word(line, found["limits"] if found else "")
            raise ValueError(
                say(
                    f"{file}, line {number}: {en}; a line is NAME sha256:HEX [per-minute=N] [at-once=N] [metrics], "
                    f"as haina serve --new-key NAME --api-key-file {file} writes it",
                    f"{file} 第 {number} 行：{zh}；格式为“名称 sha256:十六进制 [per-minute=N] [at-once=N] [metrics]”，"
                    f"可由 haina serve --new-key 名称 --api-key-file {file} 写入",
                )
            )
        keys[found["digest"]] = Key(
            found["name"], limits.get("per-minute"), limits.get("at-once"), METRICS in limits
        )
    if not keys:
        raise ValueError(
            say(
                f"{file}: holds no key, so nobody could ask; haina serve --new-key NAME --api-key-file {file} adds one",
                f"{file}：其中没有密钥，谁也无法提问；可用 haina serve --new-key 名称 --api-key-file {file} 添加",
            )
        )
    return keys


def _wrong_word(line: str, limits: str) -> tuple[str, str]:
    """What is wrong with a line, in both languages. What may be a key is not shown."""
    if any(word.startswith(PREFIX) for word in line.split()):
        return "a key itself stands here, where its hash belongs", "此处写的是密钥本身，而应写其散列值"
    seen: list[str] = []
    for word in limits.split():
        if _limits(" ".join([*seen, word])) is None:
            shown = repr(word) if _SHORT.fullmatch(word) else f"word {len(seen) + 3}"
            return f"{shown} is not a limit, or stands here twice", f"{shown} 不是可用的限额，或重复出现"
        seen.append(word)
    if len(line.split()) == 1:
        return "there is one word only", "只有一个词"
    return "NAME or sha256:HEX (64 hexadecimal digits) is wrong", "名称或 sha256:十六进制（64 位）有误"


def _limits(text: str) -> dict[str, int] | None:
    limits: dict[str, int] = {}
    for part in text.split():
        name, _, value = part.partition("=")
        if part == METRICS and part not in limits:
            limits[METRICS] = 1
            continue
        if name not in _LIMITS or name in limits or not re.fullmatch(r"[1-9]\d{0,8}", value):
            return None
        limits[name] = int(value)
    return limits


def new_key(name: str, file: Path) -> str:
    """Make a key and put its hash into the file, which is made if need be. The key exists only as the result."""
    if not re.fullmatch(r"[\w.@-]{1,64}", name):
        raise ValueError(
            say(
                f"--new-key {name!r}: use 1 to 64 letters, digits and . @ _ -",
                f"--new-key {name!r}：请用 1 至 64 个字母、数字或 . @ _ -",
            )
        )
    before = file.read_bytes() if file.exists() else b""
    if before.strip() and name in {key.name for key in read_keys(file).values()}:
        raise ValueError(
            say(
                f"{file}: there is a key for {name} already; take its line out first, or choose another name",
                f"{file}：{name} 已有密钥；请先删去该行，或另取名称",
            )
        )
    key = PREFIX + secrets.token_urlsafe(32)
    newline = b"" if not before or before.endswith(b"\n") else b"\n"
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as out:
        out.write(newline + f"{name} sha256:{_digest(key)}\n".encode())
    return key


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


class KeyFile:
    """The keys of a file, as it is now. If it is damaged while it is used, the last good keys stay."""

    def __init__(self, file: Path, log: Log, *, clock: Callable[[], float] = time.monotonic):
        self._file, self._log, self._clock = file, log, clock
        self._keys, self._seen, self._looked = read_keys(file), _state(file), clock()

    def find(self, key: str) -> Key | None:
        """Looked up by its hash, so the time it takes tells nothing about other keys."""
        now = self._clock()
        if now - self._looked >= LOOK_AGAIN_S:
            self._looked = now
            self._look()
        return self._keys.get(_digest(key))

    def _look(self) -> None:
        try:
            state = _state(self._file)
            if state != self._seen:
                self._seen = state
                self._keys = read_keys(self._file)
                self._log.write("keys", message=f"{self._file}: read again", count=len(self._keys))
        except (ValueError, OSError) as error:
            self._log.write("error", message=str(error))


def _state(file: Path) -> tuple[int, int, int]:
    stat = file.stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


@dataclass
class _Bucket:
    """A minute's requests at once at most, and then as many as trickle in."""

    level: float
    at: float


class Keyed:
    """Lets through who has a key, within its limits; `open` says which requests need none."""

    def __init__(
        self,
        app: App,
        keys: KeyFile,
        *,
        open: Callable[[Scope], bool],
        counts: Callable[[Scope], bool],
        clock: Callable[[], float] = time.monotonic,
    ):
        """`counts`: which requests the limits are about."""
        self._app, self._keys, self._open, self._counts, self._clock = app, keys, open, counts, clock
        self._buckets: dict[str, _Bucket] = {}
        self._at_once: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._open(scope):
            await self._app(scope, receive, send)
            return
        given = _given(scope)
        key = self._keys.find(given) if given else None
        if key is None:
            await self._unknown(scope, send, bool(given))
            return
        if scope["path"] == "/metrics" and not key.metrics:
            await _no_metrics(scope, send)
            return
        scope.setdefault("state", {})["tenant"] = key.name
        if (line := about.get()) is not None:
            line["key"] = key.name
        if not self._counts(scope):
            await self._app(scope, receive, send)
            return
        wait_s = self._wait_s(key)
        if wait_s:
            await _too_much(scope, send, key, wait_s)
            return
        self._at_once[key.name] += 1
        await counted(self._app, scope, receive, send, lambda: self._at_once.subtract([key.name]))

    async def _unknown(self, scope: Scope, send: Send, given: bool) -> None:
        message = (
            say("this API key is not known here", "此 API 密钥无效")
            if given
            else say(
                "an API key is needed: Authorization: Bearer KEY, or x-api-key: KEY",
                "需要 API 密钥：Authorization: Bearer 密钥，或 x-api-key: 密钥",
            )
        )
        headers = {"www-authenticate": "Bearer"}
        refused = ApiError(401, message, "authentication", code="invalid_api_key", headers=headers)
        await refuse(scope, send, refused)

    def _wait_s(self, key: Key) -> float:
        """0: it may ask now, and has; otherwise seconds until it may."""
        if key.at_once is not None and self._at_once[key.name] >= key.at_once:
            return COME_AGAIN_S
        if key.per_minute is None:
            return 0
        now, most = self._clock(), key.per_minute
        bucket = self._buckets.setdefault(key.name, _Bucket(most, now))
        bucket.level = min(most, bucket.level + (now - bucket.at) * most / 60)
        bucket.at = now
        if bucket.level < 1:
            return (1 - bucket.level) * 60 / most
        bucket.level -= 1
        return 0


def _given(scope: Scope) -> str:
    """The key that a request brings: Bearer as OpenAI's clients do, x-api-key as Anthropic's."""
    kind, _, bearer = (header(scope, b"authorization") or "").partition(" ")
    if kind.lower() == "bearer" and bearer.strip():
        return bearer.strip()
    return (header(scope, b"x-api-key") or "").strip()


async def _too_much(scope: Scope, send: Send, key: Key, wait_s: float) -> None:
    seconds = int(wait_s) + 1
    limits = [f"{n} {word}" for n, word in ((key.per_minute, say("a minute", "次/分钟")),) if n]
    limits += [say(f"{key.at_once} at once", f"同时 {key.at_once} 个")] if key.at_once else []
    message = say(
        f"too many requests with the key of {key.name} ({', '.join(limits)}); come again in {seconds} s",
        f"{key.name} 的请求过多（{'，'.join(limits)}）；请在 {seconds} 秒后重试",
    )
    headers = {"retry-after": str(seconds)}
    await refuse(
        scope, send, ApiError(429, message, "rate_limit", code="rate_limit_exceeded", headers=headers)
    )


async def _no_metrics(scope: Scope, send: Send) -> None:
    text = say(
        "metrics name all keys; to let this one read them, its line in the key file needs the word metrics",
        "指标中列有全部密钥的名称；若允许此密钥读取，请在密钥文件中该行末尾加上 metrics",
    )
    await refuse(scope, send, ApiError(403, text, "permission", code="no_metrics"))
