"""Fit: what a model would take and how fast it would be here, before anything of it is loaded or downloaded.

The model is a folder, a GGUF file, a name in the library or on the hub (of which only config.json is fetched), or
one of the published shapes. Sizes are exact, from the shapes alone; the speed is an upper limit: one token at a
time reads all weights and the keys and values so far, so memory bandwidth, which is measured, divides it
(shared by every CPU engine: Williams et al., "Roofline", CACM 2009). It does not know what a hub answers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from haina.apps.model import CACHES, DEFAULT_CONTEXT_TOKENS, size, stored_dtype
from haina.apps.screen import columns, one_line, padded
from haina.checkpoint import hub
from haina.checkpoint.checkpoint import Checkpoint
from haina.checkpoint.library import find, valid_name
from haina.checkpoint.raw import ITEM_BYTES
from haina.checkpoint.web import Web
from haina.engine.memory import Bits, available_bytes, cache_bytes, token_bytes, weight_bytes, work_bytes
from haina.model.config import SIZES, ModelConfig
from haina.native.machine import read_bandwidth
from haina.native.packing import PACKED
from haina.wording import say

PRECISIONS: dict[str, Bits] = {"bf16": 16, "w8": 8, "w4": 4}


@dataclass(frozen=True)
class Candidate:
    """A model that might be used.

    as_it_is: the precision in which its weights can be used without `command`; "" if in none: F32, and what is
    decoded to it (NF4, Q4_K), takes twice the memory of bf16. packed: whether there is no way to another. command:
    what makes it one of another precision, with --to; empty if nothing can.
    """

    name: str
    config: ModelConfig
    as_it_is: str = ""
    packed: bool = False
    command: str = ""
    download_bytes: int = 0


def candidate(model: str, *, source: str, web: Web) -> Candidate:
    """What a person means by `model`. ValueError if it is nothing that there is, or nothing that we run."""
    path = find(model)
    if path.exists():
        return _on_disk(model, Checkpoint.open(path, verify=False))
    for name in (model.lower(), f"baichuan-{model.lower()}"):
        if name in SIZES:
            return Candidate(name, SIZES[name])
    if not valid_name(model):
        raise ValueError(
            say(
                f"{model}: no such folder or model; give a folder, a .gguf file, a name on the hub "
                f"(baichuan-inc/Baichuan2-13B-Chat) or a shape ({', '.join(SIZES)})",
                f"{model}：没有这个目录或模型；请给出目录、.gguf 文件、站点上的名称"
                f"（baichuan-inc/Baichuan2-13B-Chat）或公开的规格（{'、'.join(SIZES)}）",
            )
        )
    listing = hub.HUBS[source](model, None, web)
    config, command = hub.config(listing, web), f"haina pull {model}"
    # Before the download the size alone tells the type: 2 bytes a weight, and a tokenizer.
    as_it_is = "bf16" if 1.8 < listing.bytes / config.parameters < 2.2 else ""
    return Candidate(model, config, as_it_is, command=command, download_bytes=listing.bytes)


def _on_disk(model: str, checkpoint: Checkpoint) -> Candidate:
    """By the type of the matrices, as apps/model.py `need` reckons. Only headers are read."""
    dtype = stored_dtype(checkpoint)
    if dtype in PACKED:
        return Candidate(model, checkpoint.config, dtype.lower(), packed=True)
    as_it_is = "bf16" if ITEM_BYTES[dtype] == 2 else ""
    return Candidate(model, checkpoint.config, as_it_is, command=f"haina convert {model}")


def assess(found: Candidate, *, context: int | None) -> dict[str, Any]:
    """The record that `haina fit --json` prints: bytes, and tokens a second. The bandwidth is measured now."""
    config = found.config
    most = config.max_position_embeddings
    if context is not None and context > most:
        raise ValueError(
            say(
                f"--context {context}: the context of {found.name} ends at {most} tokens; ask for less",
                f"--context {context}：{found.name} 的上下文至多 {most} 个词元；请调小",
            )
        )
    tokens = context or min(most, DEFAULT_CONTEXT_TOKENS)
    bandwidth, available = read_bandwidth(), available_bytes()
    return {
        "model": found.name,
        "command": found.command,
        "as_it_is": found.as_it_is,
        "parameters": config.parameters,
        "context_tokens": tokens,
        "download_bytes": found.download_bytes,
        "available_bytes": available,
        "bandwidth_bytes_per_s": bandwidth,
        "precisions": {
            name: _row(config, bits, tokens, bandwidth, available)
            for name, bits in PRECISIONS.items()
            if not found.packed or name == found.as_it_is
        },
    }


def _row(
    config: ModelConfig, bits: Bits, tokens: int, bandwidth: float, available: int | None
) -> dict[str, Any]:
    """One precision, with each kind of cache. The speed is that of a context half full."""
    weights = weight_bytes(config, item_bytes=2, bits=bits)
    read = token_bytes(config, item_bytes=2, bits=bits)
    caches = {}
    for cache_bits, dtype in CACHES.items():
        cache = cache_bytes(config, tokens=tokens, dtype=dtype)
        memory = weights + cache + work_bytes(config, tokens=tokens)
        caches[str(cache_bits)] = {
            "memory_bytes": memory,
            "fits": None if available is None else memory <= available,
            "tokens_per_s": bandwidth / (read + cache / 2),
        }
    as_stored = replace(config, head="plain")  # a NormHead is float32 in memory only
    return {"disk_bytes": weight_bytes(as_stored, item_bytes=2, bits=bits), "caches": caches}


def table(record: dict[str, Any]) -> str:
    """The record for people, in their language, and the command that follows from it."""
    tokens, free = record["context_tokens"], record["available_bytes"]
    speed = f"{record['bandwidth_bytes_per_s'] / 1e9:.1f} GB/s"
    free = say("unknown", "未知") if free is None else size(free)
    title = [
        one_line(record["model"]),
        say("{} parameters", "参数量 {}").format(_count(record["parameters"])),
    ]
    if record["download_bytes"]:
        download = size(record["download_bytes"])
        title.append(say(f"{download} to download", f"需下载 {download}"))
    return "\n".join(
        [
            say(" · ", "，").join(title),
            say(
                f"this machine: {free} of memory free, read at {speed} (measured now); context {tokens:,} tokens",
                f"本机：可用内存 {free}，内存读取带宽 {speed}（刚刚实测）；上下文 {tokens:,} 词元",
            ),
            "",
            *_aligned([_heads(), *(_cells(*item) for item in record["precisions"].items())]),
            "",
            say(
                "Memory: weights, which are mapped from their file but must stay in memory to be fast; "
                "context; 0.1 to 0.5 GiB of work space.",
                "内存含：权重（映射自文件，但须常驻内存才快）、上下文缓存、0.1–0.5 GiB 工作区。",
            ),
            say(
                "Speed: at most, one answer at a time, context half full; other programs at work lower it.",
                "速度为上限：单个对话，上下文用到一半时；其他程序繁忙时会更低。",
            ),
            _advice(record),
        ]
    )


def _advice(record: dict[str, Any]) -> str:
    """The command that follows: with the most precise weights that fit."""
    fitting = [n for n, row in record["precisions"].items() if row["caches"]["16"]["fits"] is not False]
    if not fitting:
        return say(
            "It does not fit: lower --context, close other programs, or choose a smaller model.",
            "放不下：请减小 --context、关闭其他程序，或换用更小的模型。",
        )
    best, command = fitting[0], one_line(record["command"])
    if command and best != record["as_it_is"]:
        command += f" --to {best}"
    elif not record["download_bytes"]:
        command = ""  # it is there
    en, zh = f"Fits as {best}", f"{best} 放得下"
    return say(f"{en}: {command}", f"{zh}：{command}") if command else say(f"{en}.", f"{zh}。")


def _heads() -> list[str]:
    return [
        say("precision", "精度"),
        say("on disk", "磁盘"),
        say("memory", "内存"),
        say("tokens/s", "词元/秒"),
        "--cache 8",
        say("tokens/s", "词元/秒"),
    ]


def _cells(name: str, row: dict[str, Any]) -> list[str]:
    cells = [name, size(row["disk_bytes"])]
    for cache in row["caches"].values():
        mark = {True: " ✓", False: " ✗", None: ""}[cache["fits"]]
        cells += [
            size(cache["memory_bytes"]) + mark,
            "–" if cache["fits"] is False else f"{cache['tokens_per_s']:.1f}",
        ]
    return cells


def _aligned(rows: list[list[str]]) -> list[str]:
    """Columns under each other: the first to the left, the others to the right."""
    widths = [max(columns(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        padded(row[0], widths[0])
        + "".join("   " + " " * (w - columns(c)) + c for c, w in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]


def _count(parameters: int) -> str:
    if parameters < 1e8:
        return f"{parameters:,}"
    return say(f"{parameters / 1e9:.1f} B", f"{parameters / 1e8:.0f} 亿")
