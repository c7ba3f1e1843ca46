"""The text of `haina convert --calibrate`: files → rows of ids → a Calibration. It does not know how rounding works."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from haina.checkpoint.checkpoint import Checkpoint
from haina.engine.calibrate import Calibration
from haina.options.models import ConvertOptions
from haina.wording import say

ROW_TOKENS = 512
# Of the embedded model the KL to bf16 is .0094 with 4,096 tokens, .0085 with 16,384, .0083 with 65,536 (none: .0199).
LEAST_ROWS, MOST_ROWS = 4, 64
LARGEST_FILE_CHARACTERS = 16 << 20  # of each file; more would take long to encode and hardly be used


def calibration(checkpoint: Checkpoint, options: ConvertOptions) -> Calibration | None:
    """None without --calibrate.

    ValueError, one line, if it is not for w4, for a file that is not UTF-8, and for too little text.
    """
    if not options.calibrate:
        return None
    if options.to != "w4":
        raise ValueError(say("--calibrate is for --to w4", "--calibrate 仅用于 --to w4"))
    text = "\n".join(_read(Path(file)) for file in options.calibrate)
    return Calibration(checkpoint, rows_of(checkpoint, text), threads=options.threads)


def rows_of(checkpoint: Checkpoint, text: str) -> np.ndarray:
    """int32 [rows, tokens], spread over the text; each begins with bos if the model is used to it."""
    config = checkpoint.config
    bos = [checkpoint.tokenizer.bos_id] if checkpoint.adds_bos else []
    T = min(ROW_TOKENS, config.max_position_embeddings) - len(bos)
    ids = checkpoint.tokenizer.encode(text)
    there = len(ids) // T
    if there < LEAST_ROWS:
        raise _too_little(len(ids), LEAST_ROWS * T, MOST_ROWS * T)
    picked = np.linspace(0, there - 1, min(there, MOST_ROWS)).astype(int)
    return np.array([bos + ids[row * T : (row + 1) * T] for row in picked], np.int32)


def _read(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as stream:
            return stream.read(LARGEST_FILE_CHARACTERS)
    except UnicodeDecodeError:
        raise ValueError(
            say(
                f"{file}: not UTF-8; --calibrate takes plain text, convert it, for example with iconv",
                f"{file}：不是 UTF-8；--calibrate 需要纯文本，请先转换编码，例如用 iconv",
            )
        ) from None


def _too_little(there: int, least: int, most: int) -> ValueError:
    return ValueError(
        say(
            f"--calibrate: {there} tokens of text; at least {least} are needed, {most} are best: add text like that "
            "which the model is for",
            f"--calibrate：文本只有 {there} 个词元，至少需要 {least} 个，{most} 个为宜；请补充与用途相近的文本",
        )
    )
