"""A small random network on disk; and Memory, a runner without a network, which remembers what lies in its pages."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from haina.checkpoint.checkpoint import Checkpoint, save
from haina.engine.engine import Engine
from haina.engine.runner import Out, Step
from haina.engine.speculate import Drafters
from haina.model.config import SIZES, ModelConfig
from haina.text.vocabulary import learn

TEXT = [
    "海纳百川，有容乃大。",
    "白日依山尽，黄河入海流。",
    "the sea takes in a hundred rivers",
    "0123456789",
] * 20
WIDTH = 8


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A random network with every row of ALiBi and a context of 1,024, as a folder on disk."""
    wire = learn(TEXT, pieces=560)
    config = ModelConfig(
        architecture="BaichuanForCausalLM",
        vocab_size=600,
        hidden_size=48,
        intermediate_size=72,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=6,
        head_dim=8,
        position="alibi",
        max_position_embeddings=1024,
    )
    random = np.random.default_rng(0)
    tensors = (
        (name, (random.standard_normal(shape) * 0.3 + (len(shape) == 1)).astype(np.float32))
        for name, shape in config.tensor_shapes().items()
    )
    folder = tmp_path_factory.mktemp("small") / "model"
    save(folder, config, tensors, tokenizer=wire, generation={}, source={})
    return Checkpoint.open(folder)


@pytest.fixture(scope="session")
def engine(small: Checkpoint) -> Engine:
    return Engine.open(small, threads=2)


class Memory:
    """A runner whose pages hold ids: the state of a token is a digest of all that its row's pages hold up to it.

    So an answer is right exactly if every slot of its row held what the row said, when it was read.
    """

    def __init__(self, pages: int, page_tokens: int, vocabulary: int):
        self.pages, self.page_tokens = pages, page_tokens
        self.ids_PS = np.full((pages, page_tokens), -1)
        self.head_VD = np.random.default_rng(0).standard_normal((vocabulary, WIDTH), np.float32)
        self.tokens = self.steps = 0  # fed so far

    def state(self, ids: Iterable[int]) -> np.ndarray:
        """The state after a text, float32 (D): another for every text."""
        seed = hashlib.blake2b(np.array(list(ids), np.int32).tobytes(), digest_size=8).digest()
        return np.random.default_rng(int.from_bytes(seed, "little")).standard_normal(WIDTH, np.float32)

    def after(self, ids: Iterable[int]) -> np.ndarray:
        """The logits after a text, without a cache."""
        return self.logits(self.state(ids))

    def logits(self, state_D: np.ndarray) -> np.ndarray:
        return self.head_VD @ state_D

    def step(self, step: Step) -> Out:
        self.steps += 1
        self.tokens += len(step.ids_N)
        states = []
        for b in range(len(step.row_start_B1) - 1):
            pages = step.pages[step.page_start_B1[b] : step.page_start_B1[b + 1]]
            for i in range(step.row_start_B1[b], step.row_start_B1[b + 1]):
                page, slot = divmod(int(step.at_N[i]), self.page_tokens)
                self.ids_PS[pages[page], slot] = step.ids_N[i]
                text = self.ids_PS[pages].ravel()[: step.at_N[i] + 1]
                assert (text >= 0).all(), "a slot is read that was never written"
                states.append(self.state(text))
        state_ND = np.stack(states)
        logits = [self.logits(state_ND[i]) for i in step.want_M]
        logits_MV = np.stack(logits) if logits else np.zeros((0, len(self.head_VD)), np.float32)
        return Out(logits_MV, state_ND[step.hidden_M])

    def head(self, hidden_MD: np.ndarray, ids: np.ndarray) -> np.ndarray:
        return np.stack([self.logits(state_D)[ids] for state_D in hidden_MD])

    def copy(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        self.ids_PS[list(targets)] = self.ids_PS[list(sources)]


@pytest.fixture(scope="session")
def remember() -> Callable[..., Engine]:
    """remember(pages, context=40) → an engine over a Memory with pages of 4 tokens and a vocabulary of 40."""

    def make(pages: int, context: int = 40, vocabulary: int = 40, drafters: Drafters | None = None) -> Engine:
        config = replace(SIZES["baichuan-7b"], vocab_size=vocabulary, max_position_embeddings=context)
        return Engine(config, Memory(pages, 4, vocabulary), drafters=drafters)

    return make
