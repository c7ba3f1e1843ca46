"""Learn a SentencePiece vocabulary with Baichuan's choices.

BPE, digits one by one, byte fallback, no normalisation and no dummy prefix (Baichuan 2 report,
arXiv:2309.10305, section 2.3), and a block of control pieces at ids 3 … 196, so that Baichuan's role ids
195 and 196 stand where Baichuan has them. It does not know where the text comes from.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import sentencepiece

from haina.wording import say

CONTROL_PIECES = [f"<reserved_{i}>" for i in range(194)]  # ids 3 … 196


def learn(lines: Iterable[str], *, pieces: int, coverage: float = 0.9999, longest: int = 16) -> bytes:
    """The serialized model (a `tokenizer.model` file) of `pieces` pieces learnt from lines of text.

    ValueError when the text is too small for so many pieces; it names how many there can be.
    """
    model = io.BytesIO()
    train = sentencepiece.SentencePieceTrainer.train
    try:
        train(model_writer=model, **_options(lines, pieces, coverage, longest))
    except RuntimeError as error:  # what its C++ exceptions become
        reason = " ".join(str(error).split())
        raise ValueError(
            say(
                f"no vocabulary of {pieces:,} pieces: {reason}", f"无法得到 {pieces:,} 个词元的词表：{reason}"
            )
        ) from None
    return model.getvalue()


def _options(lines: Iterable[str], pieces: int, coverage: float, longest: int) -> dict[str, Any]:
    return dict(
        sentence_iterator=iter(lines),
        model_type="bpe",
        vocab_size=pieces,
        character_coverage=coverage,
        max_sentencepiece_length=longest,
        split_digits=True,
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        control_symbols=CONTROL_PIECES,
        user_defined_symbols=["\n"],
        max_sentence_length=1 << 16,
        num_threads=2,
        minloglevel=2,
    )
