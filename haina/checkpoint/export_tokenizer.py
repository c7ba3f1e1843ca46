"""A SentencePiece BPE vocabulary as tokenizer.json, and a chat format as a Jinja template, for other programs.

huggingface/tokenizers reads tokenizer.json as it is written, whatever the version of transformers; its own conversion
of a tokenizer.model drops the character map, the user-defined pieces' precedence and Baichuan's prefix rule, and needs
protobuf. Equal to `Tokenizer` in ids; but what a user types literally, like `<reserved_102>`, becomes the role's id
there, as in Baichuan's published stack: a template over text cannot tell the two apart.

Not known here: weights, which file is for whom. Nothing is executed.
"""

from __future__ import annotations

import base64
import re
import struct
import unicodedata
from typing import Any

from haina.text import spm
from haina.text.messages import Template
from haina.text.tokenizer import SPACE, Tokenizer

_SHIELD = 0xF0000  # private characters that stand for pieces which the character map must not touch


def tokenizer_json(wire: bytes, tokenizer: Tokenizer, *, adds_bos: bool) -> dict[str, Any]:
    """The content of tokenizer.json of a BPE model."""
    model = spm.read(wire, tokenizer.file)
    symbols = [
        piece
        for id, (piece, kind) in enumerate(zip(model.pieces, model.kinds, strict=True))
        if kind == spm.USER_DEFINED and id not in tokenizer.control_ids
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_special(id, tokenizer.piece(id)) for id in sorted(tokenizer.control_ids)],
        "normalizer": {"type": "Sequence", "normalizers": _normalizers(model, tokenizer, symbols)},
        "pre_tokenizer": _symbols_apart(symbols),
        "post_processor": _begin(tokenizer) if adds_bos else None,
        "decoder": {"type": "Sequence", "decoders": _decoders(tokenizer)},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": tokenizer.piece(tokenizer.unk_id),
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": spm.BYTE in model.kinds,
            "ignore_merges": any(len(symbol) > 1 for symbol in symbols),  # they are no merges of anything
            "vocab": {piece: id for id, piece in enumerate(model.pieces)},
            "merges": merges(model),
        },
    }


def merges(model: spm.Model) -> list[tuple[str, str]]:
    """The pairs that make each learnt piece, the best piece first; pairs of one piece by the ids of their parts."""
    ids = {piece: id for id, piece in enumerate(model.pieces)}
    rank = scores(model)
    learnt = [id for id, kind in enumerate(model.kinds) if kind == spm.NORMAL and len(model.pieces[id]) > 1]
    found: list[tuple[str, str]] = []
    for id in sorted(learnt, key=lambda id: (-rank[id], id)):
        piece = model.pieces[id]
        pairs = [(piece[:at], piece[at:]) for at in range(1, len(piece))]
        found += sorted(
            (pair for pair in pairs if pair[0] in ids and pair[1] in ids),
            key=lambda pair: (ids[pair[0]], ids[pair[1]]),
        )
    return found


def scores(model: spm.Model) -> list[float]:
    """The score of every piece."""
    found = []
    for start in model.starts:
        _, body, _ = next(spm.fields(model.wire, start, len(model.wire)))
        assert isinstance(body, bytes)
        score = {tag: value for tag, value, _ in spm.fields(body, 0, len(body))}.get(spm.SCORE, bytes(4))
        assert isinstance(score, bytes)
        found.append(struct.unpack("<f", score)[0])
    return found


def _special(id: int, text: str) -> dict[str, Any]:
    off = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": id, "content": text, **off, "special": True}


def _normalizers(model: spm.Model, tokenizer: Tokenizer, symbols: list[str]) -> list[dict[str, Any]]:
    """What SentencePiece does to a text before it cuts it: the character map, spaces, the prefix, in its order."""
    steps: list[dict[str, Any]] = []
    charsmap = model.normalizer.get(spm.CHARSMAP, b"")
    if charsmap:
        assert isinstance(charsmap, bytes)
        shielded = [symbol for symbol in symbols if len(symbol) == 1 and _mapped(symbol)]
        pairs = [(symbol, chr(_SHIELD + i)) for i, symbol in enumerate(shielded)]
        steps += [_replace(symbol, shield) for symbol, shield in pairs]
        steps.append({"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()})
        steps += [_replace(shield, symbol) for symbol, shield in pairs]
    if model.normalizer.get(spm.REMOVE_EXTRA_WHITESPACES, True):
        steps.append({"type": "Replace", "pattern": {"Regex": r"\A +| +\z| +(?= )"}, "content": ""})
    if tokenizer.add_dummy_prefix:
        steps.append({"type": "Prepend", "prepend": SPACE})
    return [*steps, _replace(" ", SPACE)]


def _mapped(char: str) -> bool:
    """Whether nmt_nfkc, or any map of its kind, may write a character otherwise."""
    return unicodedata.normalize("NFKC", char) != char or unicodedata.category(char).startswith("C")


def _replace(old: str, new: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": old}, "content": new}


def _symbols_apart(symbols: list[str]) -> dict[str, Any] | None:
    """User-defined pieces are cut out of a text first, the longest one at each place."""
    if not symbols:
        return None
    longest_first = sorted(symbols, key=lambda symbol: (-len(symbol), symbol))
    pattern = "|".join(re.escape(symbol) for symbol in longest_first)
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def _begin(tokenizer: Tokenizer) -> dict[str, Any]:
    bos = tokenizer.piece(tokenizer.bos_id)
    begin = {"SpecialToken": {"id": bos, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": i}} for i, name in enumerate("AB"))
    return {
        "type": "TemplateProcessing",
        "single": [begin, first],
        "pair": [begin, first, {"SpecialToken": {"id": bos, "type_id": 1}}, second],
        "special_tokens": {bos: {"id": bos, "ids": [tokenizer.bos_id], "tokens": [bos]}},
    }


def _decoders(tokenizer: Tokenizer) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = [_replace(SPACE, " "), {"type": "ByteFallback"}, {"type": "Fuse"}]
    if tokenizer.add_dummy_prefix:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return steps


def tokenizer_config(tokenizer: Tokenizer, template: Template | None, *, context: int) -> dict[str, Any]:
    """What tokenizer_config.json says beside tokenizer.json, which is to be used as it is."""
    pad = tokenizer.pad_id if tokenizer.pad_id >= 0 else tokenizer.unk_id  # Baichuan pads with <unk>
    found: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
        "bos_token": tokenizer.piece(tokenizer.bos_id),
        "eos_token": tokenizer.piece(tokenizer.eos_id),
        "unk_token": tokenizer.piece(tokenizer.unk_id),
        "pad_token": tokenizer.piece(pad),
    }
    return found if template is None else found | {"chat_template": chat_template(tokenizer, template)}


def chat_template(tokenizer: Tokenizer, template: Template) -> str:
    """`messages.assemble` in Jinja: a role's piece before each message, the system text first and bare."""
    user, assistant = tokenizer.piece(template.user_id), tokenizer.piece(template.assistant_id)
    return (
        "{% for message in messages %}"
        "{% if message['role'] == 'user' %}" + user + "{% elif message['role'] == 'assistant' %}" + assistant +
        "{% elif message['role'] != 'system' or not loop.first %}"
        "{{ raise_exception('roles are user and assistant, and system for the first message') }}"
        "{% endif %}{{ message['content'] }}{% endfor %}"
        "{% if add_generation_prompt and messages[-1]['role'] != 'assistant' %}" + assistant + "{% endif %}"
    )  # fmt: skip
