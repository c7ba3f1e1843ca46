"""Documents → a token folder: the same bytes whatever the number of processes, resumed where it was interrupted.

A document is a row of a corpus (`text`, and what it has of `id`, `domain` or `source`, `licence`, `weight`,
`by_character`) or
a conversation (`messages`). It knows vocabularies and the chat format; it does not know where the rows come from nor
how they are packed. What is written, says `haina/data/tokens.py`.
"""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from haina.checkpoint.new_folder import alone
from haina.data.tokens import BY_CHARACTER, CHAT, DOCUMENT, FORMAT, Tokens
from haina.text.messages import BAICHUAN, IGNORED, Message, Template, assemble_training
from haina.text.tokenizer import Tokenizer
from haina.wording import say

SHARD_TOKENS = 1 << 25
CHUNK, AHEAD = 64, 4  # documents that a process is given at once, and chunks that wait for each
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Encoding:
    """How rows become ids. by_character: the share of texts in character mode, chosen by a hash of their ids.

    answers_only: of conversations only the answers are learnt; otherwise everything is.
    """

    tokenizer: str  # file
    by_character: float = 0.0
    answers_only: bool = True
    bos: bool = False  # whether a text begins with bos; Baichuan's do not
    template: Template = BAICHUAN


@dataclass(frozen=True)
class Encoded:
    """A document: its ids, whether what follows each is learnt, and its row of documents.npy but for the place."""

    ids: np.ndarray
    learnt: np.ndarray
    domain: str
    weight: float
    flags: int
    bytes: int
    licence: str


@dataclass(frozen=True)
class Encoder:
    """Rows → ids, with the vocabulary open."""

    encoding: Encoding
    tokenizer: Tokenizer

    def __call__(self, row: Row, number: int) -> Encoded:
        """A row as ids. ValueError says what is wrong with row `number` (counted from 1)."""
        try:
            return self._chat(row) if "messages" in row else self._text(row)
        except ValueError as error:
            raise ValueError(say(f"document {number}: {error}", f"第 {number} 篇：{error}")) from None

    def _text(self, row: Row) -> Encoded:
        text = row.get("text")
        if not isinstance(text, str):
            raise ValueError(
                say("has neither text nor messages; give it one", "既没有 text 也没有 messages，请补上其一")
            )
        share = _share(str(row.get("id", text)))
        by_character = bool(row.get("by_character", share < self.encoding.by_character))
        ids = [self.tokenizer.bos_id] if self.encoding.bos else []
        ids += [*self.tokenizer.encode(text, by_character=by_character), self.encoding.template.eos_id]
        learnt = np.ones(len(ids), bool)
        learnt[-1] = False
        return _encoded(row, ids, learnt, BY_CHARACTER * by_character, len(text.encode()))

    def _chat(self, row: Row) -> Encoded:
        messages = _messages(row["messages"])
        ids, targets = assemble_training(messages, self.tokenizer, self.encoding.template)
        learnt = np.array(targets) != IGNORED
        if not self.encoding.answers_only:
            learnt[:-1] = True
        return _encoded(row, ids, learnt, CHAT, sum(len(m.content.encode()) for m in messages))


def _messages(given: Any) -> list[Message]:
    if not isinstance(given, list):
        raise ValueError(say("messages is not a list", "messages 不是列表"))
    found = []
    for number, message in enumerate(given, 1):
        role, content = (
            (message.get("role"), message.get("content")) if isinstance(message, dict) else ("", "")
        )
        if not isinstance(role, str) or not isinstance(content, str) or not role:
            raise ValueError(
                say(
                    f"message {number} has no role or no content; each needs both, as text",
                    f"第 {number} 条消息缺少 role 或 content；二者都要有，且须为文本",
                )
            )
        found.append(Message(role, content, bool(message.get("by_character", False))))
    return found


def _encoded(row: Row, ids: list[int], learnt: np.ndarray, flags: int, size_bytes: int) -> Encoded:
    weight = row.get("weight", 1.0)
    if not isinstance(weight, (int, float)) or not 0 <= weight < 1000:
        raise ValueError(
            say(
                f"weight {weight!r} is no number from 0 to 1000",
                f"weight 的值 {weight!r} 应为 0 到 1000 的数",
            )
        )
    domain = str(row.get("domain") or row.get("source") or "text")
    licence = str(row.get("licence") or "")
    return Encoded(np.array(ids, np.uint32), learnt, domain, float(weight), flags, size_bytes, licence)


def _share(key: str) -> float:
    """A number in [0, 1) that depends on nothing but the key."""
    return (
        int.from_bytes(hashlib.blake2b(key.encode(errors="replace"), digest_size=7).digest(), "big") / 2**56
    )


def write(
    rows: Iterable[Row],
    folder: Path,
    encoding: Encoding,
    *,
    workers: int = 1,
    source: str = "",
    shard_tokens: int = SHARD_TOKENS,
) -> Tokens:
    """Encode all rows into `folder` and open it. Interrupted, it goes on behind the last whole shard.

    source: what the rows are, such as the sha256 of a corpus' manifest; it is kept, and a folder begun with another
    one is begun anew. ValueError: a row that is no document, character mode with a vocabulary that has none, or
    another process writes there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    busy = say(
        f"{folder}: another process encodes there; wait for it, or choose another folder",
        f"{folder}：另有进程正在编码；请等它结束，或换一个目录",
    )
    with alone(lock := folder / ".lock", busy):
        try:
            _write(rows, folder, encoding, workers, source, shard_tokens)
        finally:
            lock.unlink(missing_ok=True)
    return Tokens.open(folder, verify=False)


def _write(
    rows: Iterable[Row], folder: Path, encoding: Encoding, workers: int, source: str, shard_tokens: int
) -> None:
    tokenizer = Tokenizer.open(encoding.tokenizer)
    if encoding.by_character:
        tokenizer.encode("", by_character=True)  # before hours of work: is there such a mode
    writer = Writer(folder, tokenizer, encoding, source, shard_tokens)
    (folder / "tokens.json").unlink(missing_ok=True)
    first = len(writer.documents)
    encoder, left = Encoder(encoding, tokenizer), islice(rows, first, None)
    with closing(
        _here(encoder, left, first) if workers == 1 else _beside(encoding, left, first, workers)
    ) as found:
        for document in found:
            writer.add(document)
    writer.finish()


def _here(encoder: Encoder, rows: Iterator[Row], first: int) -> Generator[Encoded, None, None]:
    yield from (encoder(row, number) for number, row in enumerate(rows, first + 1))


def _beside(
    encoding: Encoding, rows: Iterator[Row], first: int, workers: int
) -> Generator[Encoded, None, None]:
    """The documents in their order, encoded by other processes; a few chunks are ahead of what is taken."""
    context = multiprocessing.get_context("spawn")
    ahead: deque[Future[list[Encoded]]] = deque()
    with ProcessPoolExecutor(workers, context, _open, (encoding,)) as pool:
        try:
            while chunk := list(islice(rows, CHUNK)):
                ahead.append(pool.submit(_chunk, chunk, first + 1))
                first += len(chunk)
                if len(ahead) > AHEAD * workers:
                    yield from ahead.popleft().result()
            while ahead:
                yield from ahead.popleft().result()
        except BrokenProcessPool:
            raise ValueError(
                say(
                    "a process that encodes was killed, perhaps for its memory; call it again with fewer workers",
                    "有编码进程被系统终止，可能是内存不足；请减少进程数后重试",
                )
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_of_this_process: list[Encoder] = []


def _open(encoding: Encoding) -> None:
    _of_this_process.append(Encoder(encoding, Tokenizer.open(encoding.tokenizer)))


def _chunk(rows: list[Row], first: int) -> list[Encoded]:
    return [_of_this_process[0](row, number) for number, row in enumerate(rows, first)]


class Writer:
    """A token folder in the making. After each shard, begun.json says how far it is."""

    def __init__(
        self, folder: Path, tokenizer: Tokenizer, encoding: Encoding, source: str, shard_tokens: int
    ) -> None:
        self.folder, self.shard_tokens = folder, shard_tokens
        self.dtype = np.dtype("<u2" if tokenizer.size <= 1 << 16 else "<u4")
        template = asdict(encoding.template) | {"other_eos_ids": sorted(encoding.template.other_eos_ids)}
        self.about = {
            "format": FORMAT,
            "tokenizer": tokenizer.sha256,
            "pieces": tokenizer.size,
            "dtype": self.dtype.str,
            "eos_id": encoding.template.eos_id,
            "user_id": encoding.template.user_id,
            "source": source,
            "shard_tokens": shard_tokens,
            "encoding": asdict(encoding) | {"tokenizer": Path(encoding.tokenizer).name, "template": template},
        }
        self.documents = np.zeros(0, DOCUMENT)  # of the closed shards
        self.domains: dict[str, dict[str, int]] = {}
        self.licences: dict[str, int] = {}  # documents of each
        self.files: dict[str, dict[str, Any]] = {}
        self.shards = 0
        self._held: list[Encoded] = []  # for the shard to come
        self._held_tokens = 0
        self._resume()

    def add(self, document: Encoded) -> None:
        if self._held and self._held_tokens + len(document.ids) > self.shard_tokens:
            self._close_shard()
        self._held.append(document)
        self._held_tokens += len(document.ids)

    def finish(self) -> None:
        if self._held:
            self._close_shard()
        if not len(self.documents):
            raise ValueError(
                say(f"{self.folder}: there are no documents to encode", f"{self.folder}：没有可编码的文档")
            )
        self._replace("tokens.json", _json(self._state()))
        (self.folder / "begun.json").unlink(missing_ok=True)

    def _close_shard(self) -> None:
        ids = np.concatenate([document.ids for document in self._held]).astype(self.dtype)
        learnt = np.packbits(np.concatenate([document.learnt for document in self._held]), bitorder="little")
        self._replace(f"tokens-{self.shards:05}.bin", ids.tobytes())
        self._replace(f"learnt-{self.shards:05}.bin", learnt.tobytes())
        self.documents = np.concatenate([self.documents, self._rows()])
        self.shards += 1
        self._held, self._held_tokens = [], 0
        table = io.BytesIO()
        np.save(table, self.documents)
        self._replace("documents.npy", table.getvalue())
        self._replace("begun.json", _json(self._state()))

    def _rows(self) -> np.ndarray:
        """The rows of documents.npy of the shard that is being closed; counts its domains and licences."""
        rows, start = np.zeros(len(self._held), DOCUMENT), 0
        for number, document in enumerate(self._held):
            size = len(document.ids)
            counts = self.domains.setdefault(document.domain, {"documents": 0, "tokens": 0, "bytes": 0})
            if document.licence:
                self.licences[document.licence] = self.licences.get(document.licence, 0) + 1
            for name, more in (("documents", 1), ("tokens", size), ("bytes", document.bytes)):
                counts[name] += more
            domain = list(self.domains).index(document.domain)
            rows[number] = (start, size, document.bytes, document.weight, self.shards, domain, document.flags)
            start += size
        return rows

    def _replace(self, name: str, content: bytes) -> None:
        part = self.folder / f"{name}.part"
        part.write_bytes(content)
        os.replace(part, self.folder / name)
        if not name.endswith(".json"):
            self.files[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    def _state(self) -> dict[str, Any]:
        counts = {"domains": self.domains, "licences": self.licences}
        return {**self.about, "shards": self.shards, **counts, "files": self.files}

    def _resume(self) -> None:
        """Take up what an interrupted making with the same settings left, or nothing."""
        file = self.folder / "begun.json"
        if not file.exists():
            return
        begun = json.loads(file.read_bytes())
        if any(begun[key] != value for key, value in self.about.items()):
            return
        self.shards, self.domains, self.files = begun["shards"], begun["domains"], begun["files"]
        self.licences = begun.get("licences", {})
        count = sum(counts["documents"] for counts in self.domains.values())
        self.documents = np.load(self.folder / "documents.npy")[:count]  # it may be one shard ahead


def _json(about: Mapping[str, Any]) -> bytes:
    return (json.dumps(about, indent=1, ensure_ascii=False) + "\n").encode()
