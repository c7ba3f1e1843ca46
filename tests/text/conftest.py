"""Vocabularies small enough to learn while the tests start, with Baichuan's settings."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece

from haina.text.tokenizer import Tokenizer

LINES = [
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。",
    "The quick brown fox jumps over the lazy dog. It was the best of times, it was the worst of times.",
    "两岸猿声啼不住，轻舟已过万重山。  你好，世界！ Hello, world! 12 + 30 = 42",
]
SYMBOLS = ["<SEP>", "\n", "\t", "<h1>", "，", "  ", *(f"<reserved_{n}>" for n in range(100, 106))]


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAINA_LANG", "en")


def learn(**settings: object) -> bytes:
    """A serialized model of some 500 pieces."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES * 4),
        model_writer=model,
        minloglevel=2,
        **{
            "model_type": "bpe",
            "vocab_size": 480,
            "hard_vocab_limit": False,
            "character_coverage": 1.0,
            "byte_fallback": True,
            "remove_extra_whitespaces": False,
            "user_defined_symbols": SYMBOLS,
            "normalization_rule_name": "identity",
            **settings,
        },
    )
    return model.getvalue()


@pytest.fixture(scope="session", name="learn")
def learn_fixture() -> Callable[..., bytes]:
    return learn


@pytest.fixture(scope="session")
def plain_wire() -> bytes:
    return learn()


@pytest.fixture(scope="session")
def nfkc_wire() -> bytes:
    return learn(normalization_rule_name="nmt_nfkc")


@pytest.fixture(scope="session")
def unigram_wire() -> bytes:
    return learn(normalization_rule_name="nmt_nfkc", model_type="unigram")


@pytest.fixture(scope="session")
def tiny(plain_wire: bytes) -> Tokenizer:
    """No normalisation, so that a round trip gives the text."""
    return Tokenizer(plain_wire)


@pytest.fixture(scope="session")
def nfkc(nfkc_wire: bytes) -> Tokenizer:
    """NFKC, as in Baichuan 1."""
    return Tokenizer(nfkc_wire)


@pytest.fixture(scope="session", params=["7b-style", "13b-style"])
def fixture_folder(request: pytest.FixtureRequest, data: Path) -> Path:
    """A tiny published-style checkpoint with reference values."""
    return data / "baichuan-fixtures" / str(request.param)
