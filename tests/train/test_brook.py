"""The recipe of the embedded model: what a document becomes, and which rows may be used at all."""

from __future__ import annotations

import json
import random
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from haina.checkpoint.checkpoint import Checkpoint
from haina.data.read import rows
from haina.model.decoder import Decoder
from haina.options.training import BrookOptions
from haina.text.messages import Message
from haina.text.tokenizer import Tokenizer
from haina.text.vocabulary import learn
from haina.train import brook


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(learn(["白日依山尽，黄河入海流。", "你好，海纳！hello there"] * 9, pieces=500))


def test_verse_is_cut_between_lines() -> None:
    lines = brook.couplets(["白日依山尽，", "黄河入海流。", "欲穷千里目，", "更上一层楼。"])
    assert lines == ["白日依山尽，黄河入海流。", "欲穷千里目，更上一层楼。"]
    for seed in range(20):
        _, answer = brook.continuation(lines, random.Random(seed))
        assert "".join(lines).endswith(answer.content) and answer.content[-1] == "。"
        assert answer.content[:5] in "黄河入海流 欲穷千里目 更上一层楼"


def test_an_answer_learns_to_end_where_the_user_would_speak(tokenizer: Tokenizer) -> None:
    talk = [
        Message(r, t)
        for r, t in (("user", "你好"), ("assistant", "海纳"), ("user", "你"), ("assistant", "好"))
    ]
    ids, targets = brook.encode(talk, tokenizer)
    assert ids[0] == 195 and list(ids).count(196) == 2 and ids[-1] == tokenizer.eos_id
    before_second_user = list(ids).index(195, 1) - 1
    assert targets[before_second_user] == tokenizer.eos_id and 195 not in targets
    others = [i for i in range(len(ids) - 1) if i != before_second_user]
    assert (targets[others] == ids[np.array(others) + 1]).all()


def test_tuning_learns_answers_only(tokenizer: Tokenizer) -> None:
    ids, targets = brook.encode_answers([Message("user", "你好"), Message("assistant", "海纳")], tokenizer)
    answer = [*tokenizer.encode("海纳"), tokenizer.eos_id]
    assert [t for t in targets if t >= 0] == answer and list(ids[-len(answer) :]) == answer


@pytest.mark.parametrize(
    ("language", "words"), [(0, "step N of the run .* later call goes on"), (1, "第 N 步.*再次运行")]
)
def test_the_help_tells_that_steps_count_from_the_start_of_the_run(language: int, words: str) -> None:
    told = {field.name: field.metadata["help"] for field in fields(BrookOptions)}["stop_after"]
    assert re.search(words, told[language])


def test_only_openly_licensed_dialogues_are_used(data: Path) -> None:
    licences = json.loads((data / "sources.json").read_text("utf-8"))["sets"]["chat"]
    assert all(licences[name][1] is not False for name in brook.CHAT_SOURCES)
    kept = list(brook.dialogues(rows(data / "chat" / "valid" / "sft_zh.jsonl.zst")))
    assert kept and all(m.role == ("user", "assistant")[i % 2] for talk in kept for i, m in enumerate(talk))


def test_a_missing_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="poems"):
        list(brook.documents(tmp_path, "train"))


def test_publish_writes_a_checkpoint_that_opens(tokenizer: Tokenizer, tmp_path: Path) -> None:
    wire = learn([f"{i} 海纳百川有容乃大 the sea takes in a hundred rivers" for i in range(99)], pieces=500)
    (tmp_path / "tokenizer.model").write_bytes(wire)
    decoder = Decoder(brook.CONFIG).initialise(std=0.5)
    brook.publish(decoder, tmp_path, tmp_path / "model", files={"README.md": b"# brook"})
    opened = Checkpoint.open(tmp_path / "model")
    assert opened.manifest is not None and "README.md" in opened.manifest.files
    assert opened.config == brook.CONFIG and opened.generation["user_token_id"] == 195
    stored = opened.tensor("lm_head.weight")
    assert (
        stored.dtype == "W8"
        and np.abs(stored.float32() - decoder.lm_head.weight.detach().numpy()).max() < 0.01
    )
