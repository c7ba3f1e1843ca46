"""llama.cpp as the other side of a pair: the library inside llama-cpp-python, through its plain C calls.

Built from its sdist with native flags (the `bench` extra), it has repacking and OpenMP on. It takes the same ids at
the same positions as our forward and gives the logits back. It knows nothing of haina. All settings that are not
arguments here are llama.cpp's own defaults.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import llama_cpp
import numpy as np

_log: list[str] = []


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _keep(level: int, text: bytes, data: object) -> None:
    _log.append(text.decode("utf-8", "replace"))


llama_cpp.llama_log_set(_keep, ctypes.c_void_p(0))
llama_cpp.llama_backend_init()

CACHE_TYPES = {
    "F32": llama_cpp.GGML_TYPE_F32,
    "F16": llama_cpp.GGML_TYPE_F16,
    "Q8_0": llama_cpp.GGML_TYPE_Q8_0,
}
FILE_TYPES = {
    "Q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0,
    "Q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0,
    "Q4_K_M": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M,
    "F16": llama_cpp.LLAMA_FTYPE_MOSTLY_F16,
}
LOAD_DEFAULT, LOAD_READ = (
    -1,
    0,
)  # enum llama_load_mode: by itself it maps the file and repacks into a second copy


def describe() -> str:
    """Version and build flags."""
    info = llama_cpp.llama_print_system_info().decode()
    on = [part.split("=")[0].strip() for part in info.replace("CPU :", "").split("|") if "= 1" in part]
    return f"llama-cpp-python {version('llama-cpp-python')} ({' '.join(on)})"


class Peer:
    """A GGUF file in llama.cpp. ValueError if it does not load."""

    def __init__(self, file: Path, *, load: int = LOAD_READ):
        params = llama_cpp.llama_model_default_params()
        params.load_mode = load
        _log.clear()
        self.model = llama_cpp.llama_model_load_from_file(str(file).encode(), params)
        if not self.model:
            raise ValueError(f"{file}: llama.cpp does not load it: {''.join(_log)[-500:]}")
        self.buffers = [line.strip() for line in "".join(_log).splitlines() if "model buffer size" in line]
        self.vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))

        self._contexts: list[PeerContext] = []

    def context(self, *, sequences: int, tokens: int, threads: int, cache: str = "F16") -> PeerContext:
        """A cache for `sequences` of up to `tokens` each; it ends with the model."""
        self._contexts.append(PeerContext(self, sequences, tokens, threads, cache))
        return self._contexts[-1]

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *error: object) -> None:
        for context in self._contexts:
            context.close()
        llama_cpp.llama_model_free(self.model)


class PeerContext:
    """One step at a time over a cache."""

    def __init__(self, peer: Peer, sequences: int, tokens: int, threads: int, cache: str):
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_seq_max = sequences * tokens, sequences
        params.n_batch = params.n_ubatch = min(512, sequences * tokens)
        params.n_threads = params.n_threads_batch = threads
        params.type_k = params.type_v = CACHE_TYPES[cache]
        params.no_perf = True
        self.vocab, self.sequences = peer.vocab, sequences
        self.context = llama_cpp.llama_init_from_model(peer.model, params)
        if not self.context:
            raise ValueError(f"llama.cpp makes no context: {''.join(_log)[-500:]}")
        self.memory = llama_cpp.llama_get_memory(self.context)
        self.batch = llama_cpp.llama_batch_init(params.n_batch, 0, 1)

    def feed(self, ids: Sequence[int], at: int, *, sequence: int = 0, all_logits: bool = False) -> np.ndarray:
        """One sequence from position `at`: logits (1, V) of the last token, or of all (T, V)."""
        rows = [(id, at + t, sequence, all_logits or t + 1 == len(ids)) for t, id in enumerate(ids)]
        return self._decode(rows)

    def step(self, ids: Sequence[int], at: int) -> np.ndarray:
        """One token for each of the first sequences, all at position `at`: logits (B, V)."""
        return self._decode([(id, at, sequence, True) for sequence, id in enumerate(ids)])

    def _decode(self, rows: list[tuple[int, int, int, bool]]) -> np.ndarray:
        batch = self.batch
        batch.n_tokens = len(rows)
        for i, (id, at, sequence, wanted) in enumerate(rows):
            batch.token[i], batch.pos[i], batch.logits[i] = id, at, wanted
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
        status = llama_cpp.llama_decode(self.context, batch)
        assert status == 0, f"llama_decode: {status}"
        count = sum(wanted for *_, wanted in rows)
        logits = llama_cpp.llama_get_logits(self.context)  # waits until they are there
        copied: np.ndarray = np.ctypeslib.as_array(logits, (count, self.vocab)).copy()
        return copied

    def copy_sequence(self) -> None:
        """Give every sequence what sequence 0 has seen."""
        for sequence in range(1, self.sequences):
            llama_cpp.llama_memory_seq_cp(self.memory, 0, sequence, -1, -1)

    def forget(self, start: int) -> None:
        """All positions from `start` on, of every sequence."""
        for sequence in range(self.sequences):
            llama_cpp.llama_memory_seq_rm(self.memory, sequence, start, -1)

    def close(self) -> None:
        llama_cpp.llama_batch_free(self.batch)
        llama_cpp.llama_free(self.context)


def quantize(
    source: Path, destination: Path, kind: str, *, ends: str | None = None, threads: int = 2
) -> None:
    """llama.cpp's own rounding of a GGUF file. ends: the type of embedding and head ("Q8_0"), else its choice."""
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.nthread = FILE_TYPES[kind], threads
    if ends is not None:
        params.output_tensor_type = params.token_embedding_type = CACHE_TYPES[ends]
    status = llama_cpp.llama_model_quantize(
        str(source).encode(), str(destination).encode(), ctypes.byref(params)
    )
    assert status == 0, "".join(_log)[-500:]
