"""A model that always says the same: a chain of tokens written into the weights, so that answers are known.

Its layers add nothing, so the output depends on the last token alone: embedding row k is a unit vector, and the
head's row of the next token points the same way.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from haina.checkpoint.checkpoint import save
from haina.model.config import ModelConfig
from haina.text.tokenizer import Tokenizer
from haina.text.vocabulary import learn

ASSISTANT, EOS = 196, 2
LINES = [
    "春眠不觉晓，处处闻啼鸟。",
    "夜来风雨声，花落知多少。",
    "你好，我在这里。Hello, I am here.",
    "abcdefghijklmnopqrstuvwxyz",
]
Speaker = Callable[..., Path]


@pytest.fixture(scope="session")
def vocabulary() -> bytes:
    return learn(LINES, pieces=540, coverage=1.0)


@pytest.fixture(scope="session")
def speaker(vocabulary: bytes, tmp_path_factory: pytest.TempPathFactory) -> Speaker:
    """speaker(says, loop=False, context=256, chat=True) → a folder whose model answers `says` to everything.

    `loop`: it goes on from the beginning, until its context ends.
    """
    tokenizer = Tokenizer(vocabulary)

    def make(says: str | list[int], *, loop: bool = False, context: int = 256, chat: bool = True) -> Path:
        ids = tokenizer.encode(says) if isinstance(says, str) else says
        assert len(set(ids)) == len(ids), "a token can be followed by one token only"
        steps = dict(zip([ASSISTANT, *ids], [*ids, ids[0] if loop else EOS], strict=True))
        folder = tmp_path_factory.mktemp("model") / "speaker"
        _write(folder, vocabulary, steps, tokenizer.size, context, chat)
        return folder

    return make


def _write(
    folder: Path, vocabulary: bytes, steps: dict[int, int], size: int, context: int, chat: bool
) -> None:
    config = ModelConfig(
        architecture="BaiChuanForCausalLM",
        vocab_size=size,
        hidden_size=64,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        rotary_dim=32,
        max_position_embeddings=context,
    )
    assert len(steps) < config.hidden_size
    weights = {name: np.zeros(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    weights["model.norm.weight"][:] = 1
    for axis, (said, following) in enumerate(steps.items()):
        weights["model.embed_tokens.weight"][said, axis] = 1
        weights["lm_head.weight"][following, axis] = 1
    roles = {"user_token_id": 195, "assistant_token_id": ASSISTANT} if chat else {}
    save(
        folder,
        config,
        weights.items(),
        tokenizer=vocabulary,
        generation={"eos_token_id": EOS, "max_new_tokens": context, "do_sample": False, **roles},
        source={"name": "speaker", "licence": "none needed"},
    )
