"""What rounding costs: KL divergence to bf16 of a trained model on real text, and error of weights alone.

The trained model is the embedded one before it was rounded: the float32 weights that its training run left behind,
cut to bf16. Both sides start from the same bf16 weights and each is compared with itself: our rounded network with
ours in bf16, llama.cpp's rounded files (its own quantiser) with llama.cpp in F32, all keys and values in float.
The mean over tokens of KL(bf16 || rounded), in nats. It writes into the folder it is given; it times nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.others import peer
from bench.ours import Ours
from bench.report import Goal, Section
from bench.setup import EMBEDDED, Bench
from haina.checkpoint.checkpoint import Checkpoint, save
from haina.checkpoint.convert import Target, convert
from haina.checkpoint.raw import Raw
from haina.checkpoint.read_safetensors import read_safetensors
from haina.model.config import ModelConfig
from haina.native.packing import pack, packed_bytes, unpack

ROWS = 16  # of text
LENGTH = 512  # tokens of a row
ENDS = ("model.embed_tokens.weight", "lm_head.weight")


@dataclass(frozen=True)
class Quality:
    """One way of rounding: mean nats lost, and bits a weight of the layers' matrices, of embedding and head, of all."""

    name: str
    nats: float
    layer_bits: float
    end_bits: tuple[float, float]
    bits: float


def trained_weights(run: Path) -> dict[str, np.ndarray]:
    """The weights that the last phase of a training run left, rounded to bf16 and held in float32."""
    return {name: _bf16(raw.float32()) for name, raw in Checkpoint.open(run / "sft" / "model").tensors()}


def _bf16(w: np.ndarray) -> np.ndarray:
    """Rounded to nearest, ties to even; finite values only."""
    bits = w.view(np.uint32)
    rounded: np.ndarray = (bits + (0x7FFF + (bits >> 16 & 1))) & 0xFFFF0000
    return rounded.view(np.float32)


def as_bf16(w: np.ndarray) -> Raw:
    """float32 values that are bf16 already."""
    halves = np.ascontiguousarray(w.reshape(-1).view(np.uint16)[1::2])
    return Raw("BF16", w.shape, halves.view(np.uint8))


def write_bf16(folder: Path, embedded: Checkpoint, weights: dict[str, np.ndarray]) -> None:
    """A folder with the embedded model's config and tokenizer and these weights."""
    save(
        folder,
        embedded.config,
        ((name, as_bf16(weights[name])) for name in embedded.config.tensor_shapes()),
        tokenizer=(embedded.folder / "tokenizer.model").read_bytes(),
        generation=embedded.generation,
        source={"name": "haina-brook", "licence": "Apache-2.0", "made": "bench/quality.py"},
    )


def validation_rows(data: Path, embedded: Checkpoint) -> np.ndarray:
    """(ROWS, LENGTH) ids of the text that training was validated on."""
    from haina.data.brook.base import base
    from haina.data.brook.vocabulary import words

    ids = [np.array(embedded.tokenizer.encode(words(row)), np.int32) for row in base(data, "valid")]
    joined = np.concatenate(ids)
    full: np.ndarray = joined[: len(joined) // LENGTH * LENGTH].reshape(-1, LENGTH)
    return full[:: max(1, len(full) // ROWS)][:ROWS]


def our_logits(folder: Path, rows: np.ndarray, threads: int) -> Iterator[np.ndarray]:
    """(T, V) of each row."""
    ours = Ours(folder, sequences=1, tokens=rows.shape[1], threads=threads, cache="F32")
    return (ours.feed(row.tolist(), 0, all_logits=True) for row in rows)


def their_logits(file: Path, rows: np.ndarray, threads: int) -> Iterator[np.ndarray]:
    with peer.Peer(file) as model:
        context = model.context(sequences=1, tokens=rows.shape[1], threads=threads, cache="F32")
        for row in rows:
            yield context.feed(row.tolist(), 0, all_logits=True)
            context.forget(0)


def divergence(exact: Iterator[np.ndarray], rounded: Iterator[np.ndarray]) -> float:
    """Mean nats of KL(exact || rounded) over all tokens."""
    nats = [_kl(p, q).mean() for p, q in zip(exact, rounded, strict=True)]
    return float(np.mean(nats))


def _kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    log_p, log_q = _log_softmax(p), _log_softmax(q)
    nats: np.ndarray = (np.exp(log_p) * (log_p - log_q)).sum(axis=1)
    return nats


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    normed: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return normed


def compare(folder: Path, run: Path, data: Path, embedded: Checkpoint, threads: int) -> list[Quality]:
    """Ours and llama.cpp's ways of rounding, each against its own network in full precision."""
    weights, rows = trained_weights(run), validation_rows(data, embedded)
    write_bf16(folder / "bf16", embedded, weights)
    kinds: tuple[Target, ...] = ("w4", "w8")
    found = [_ours(folder, rows, embedded.config, kind, threads) for kind in kinds]
    if not peer:
        return found
    from bench.write_gguf import export

    exact = folder / "f32.gguf"
    export(exact, embedded.config, weights)
    same = divergence(our_logits(folder / "bf16", rows[:2], threads), their_logits(exact, rows[:2], threads))
    assert same < 1e-5, f"both sides must have the same network: {same}"
    for kind, ends in (
        ("Q4_0", None),
        ("Q4_0", "Q8_0"),
        ("Q4_K_M", None),
        ("Q4_K_M", "Q8_0"),
        ("Q8_0", None),
    ):
        file = folder / f"{kind}-{ends}.gguf"
        peer.quantize(exact, file, kind, ends=ends, threads=threads)
        nats = divergence(their_logits(exact, rows, threads), their_logits(file, rows, threads))
        name = f"llama.cpp {kind}" + (f", embedding and head {ends}" if ends else "")
        found.append(Quality(name, nats, *_their_bits(file)))
    return found


def _ours(folder: Path, rows: np.ndarray, config: ModelConfig, kind: Target, threads: int) -> Quality:
    convert(Checkpoint.open(folder / "bf16"), folder / kind, to=kind)
    exact, rounded = our_logits(folder / "bf16", rows, threads), our_logits(folder / kind, rows, threads)
    return Quality(f"haina {kind}", divergence(exact, rounded), *_our_bits(folder / kind, config))


def _our_bits(folder: Path, config: ModelConfig) -> tuple[float, tuple[float, float], float]:
    stored = read_safetensors(folder / "model.safetensors")
    sizes = {
        name.rsplit(".", 1)[0]: tensor.raw().nbytes
        for name, tensor in stored.items()
        if name[-3:] in (".w4", ".w8")
    }
    shapes = {name: shape for name, shape in config.tensor_shapes().items() if len(shape) == 2}
    return _bits({name: (sizes[name], rows * cols) for name, (rows, cols) in shapes.items()}, ENDS)


def _their_bits(file: Path) -> tuple[float, tuple[float, float], float]:
    import gguf

    tensors = [t for t in gguf.GGUFReader(file).tensors if len(t.shape) == 2]
    sizes = {t.name: (int(t.n_bytes), int(t.n_elements)) for t in tensors}
    return _bits(sizes, ("token_embd.weight", "output.weight"))


def _bits(
    sizes: dict[str, tuple[int, int]], ends: tuple[str, str]
) -> tuple[float, tuple[float, float], float]:
    """Bits a weight from (bytes, weights) of each matrix: of the layers, of both ends, of all."""

    def of(names: list[str]) -> float:
        return 8 * sum(sizes[name][0] for name in names) / sum(sizes[name][1] for name in names)

    return of([n for n in sizes if n not in ends]), (of([ends[0]]), of([ends[1]])), of(list(sizes))


def weight_error(rows: int = 256, cols: int = 4096) -> list[tuple[str, float, dict[str, float]]]:
    """(format, bits, relative root mean square error by distribution) of weights drawn at random."""
    rng = np.random.default_rng(0)
    drawn = {
        "Gauss": rng.standard_normal((rows, cols)),
        "Student t5": rng.standard_t(5, (rows, cols)),
        "Student t3": rng.standard_t(3, (rows, cols)),
    }
    samples = {name: w.astype(np.float32) for name, w in drawn.items()}
    found = []
    for dtype in ("W4", "W8"):
        bits = 8 * packed_bytes(dtype, rows, cols) / (rows * cols)
        errors = {name: _error(w, unpack(dtype, pack(dtype, w), rows, cols)) for name, w in samples.items()}
        found.append((f"haina {dtype.lower()}", bits, errors))
    if not peer:
        return found
    import gguf

    for name in ("Q4_0", "Q8_0"):
        kind = gguf.GGMLQuantizationType[name]
        back = {n: gguf.dequantize(gguf.quantize(w, kind), kind) for n, w in samples.items()}
        bits = 8 * gguf.quantize(samples["Gauss"], kind).nbytes / (rows * cols)
        found.append((f"llama.cpp {name}", bits, {n: _error(samples[n], back[n]) for n in samples}))
    return found


def _error(w: np.ndarray, rounded: np.ndarray) -> float:
    return float(np.sqrt(((rounded - w) ** 2).sum() / (w**2).sum()))


def quality(bench: Bench, run: Path, data: Path) -> list[Section]:
    """KL divergence to bf16 of the trained embedded model on real text, and the error of random weights."""
    embedded_model = Checkpoint.open(EMBEDDED)
    folder = bench.folder / "quality"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    found = {q.name: q for q in compare(folder, run, data, embedded_model, bench.threads)}
    rows = [
        [
            q.name,
            f"{q.nats:.5f}",
            f"{q.layer_bits:.2f}",
            " / ".join(f"{b:.2f}" for b in q.end_bits),
            f"{q.bits:.2f}",
        ]
        for q in found.values()
    ]
    goals = []
    if fair := found.get("llama.cpp Q4_0, embedding and head Q8_0"):
        goals.append(
            Goal(
                "KL of w4 / KL of Q4_0, both with embedding and head in 8 bits",
                found["haina w4"].nats / fair.nats,
                0.9,
                most=True,
            )
        )
        goals.append(
            Goal(
                "bits a weight of w4's layers, Q4_0's being 4.5", found["haina w4"].layer_bits, 4.5, most=True
            )
        )
        goals.append(Goal("KL of w8 / KL of Q4_0", found["haina w8"].nats / fair.nats, 1 / 20, most=True))
    note = (
        f"haina-brook from its float32 weights, {ROWS} rows of {embedded_model.config.max_position_embeddings} "
        "tokens of the validation text; nats of KL(bf16 || rounded), each side against its own unrounded network. "
        "Its width of 192 is no multiple of 256, so Q4_K_M falls back to 5- and 8-bit types."
    )
    header = ["", "KL, nats a token", "bits, layers", "bits, embedding / head", "bits, whole file"]
    sections = [Section("Quality", note, header, rows, goals)]
    errors = weight_error()
    kinds = list(errors[0][2])
    rows = [[name, f"{bits:.2f}", *(f"{e[kind]:.4f}" for kind in kinds)] for name, bits, e in errors]
    note = "Relative root mean square error of weights drawn at random. Q4_0 and Q8_0 as the gguf package rounds."
    return [*sections, Section("Error of random weights", note, ["", "bits", *kinds], rows)]
