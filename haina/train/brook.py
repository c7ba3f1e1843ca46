"""The recipe of haina-brook (海纳·溪), the embedded model: which text, which shape, which numbers.

It turns the data pack into documents, documents into packed rows, and calls the one training loop. The text is
classical verse (public domain), openly licensed dialogues, and our own greetings beside this file. It does not
know how a step is made (train/loop.py) nor how a checkpoint is written (checkpoint/).
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from haina.checkpoint.checkpoint import save
from haina.checkpoint.raw import Raw
from haina.data.pack import Rows, pack
from haina.data.read import rows
from haina.model.config import ModelConfig
from haina.model.decoder import Decoder
from haina.options.training import TrainOptions
from haina.text.messages import IGNORED, Message, Template, assemble_training, template_for
from haina.text.tokenizer import Tokenizer
from haina.text.vocabulary import learn
from haina.train.loop import Held, Task, train
from haina.train.objectives import next_token

PIECES = 6144
BASE = TrainOptions(steps=800, rows=16, length=512)
# Then only answers are learnt, at a fifth of the rates: greetings, short talk, verse that people try first.
TUNE = TrainOptions(steps=150, rows=16, length=512, matrix_lr=2e-3, other_lr=8e-4, warm_up=10, valid_every=50)
CONFIG = ModelConfig(
    architecture="BaiChuanForCausalLM",
    vocab_size=PIECES,
    hidden_size=192,
    intermediate_size=512,
    num_hidden_layers=5,
    num_attention_heads=3,
    num_key_value_heads=3,
    head_dim=64,
    rotary_dim=64,
    max_position_embeddings=512,
)

Dialogue = list[Message]
# Openly licensed sources of the data pack (its sources.json): KdConv, BELLE eval, rasbt Apache-2.0 or ODC-By;
# ShareGPT and GPTeacher rows come from openly licensed sets that hold model output.
CHAT_SOURCES = {"kdconv", "belle_eval", "sharegpt_zh", "rasbt", "gpteacher_roleplay"}
LONGEST_TURN = 300  # characters
FORMS = {"五绝": "五言绝句", "七绝": "七言绝句", "五律": "五言律诗"}
# First lines of verse that a reader would try first; each is shown many times in many cuts. (Some of the best
# known are absent from the training part of the data pack, which holds them out; they are not added by hand.)
FAMOUS = set(
    """白日依山尽 红豆生南国 千山鸟飞绝 空山不见人 锄禾日当午 朝辞白帝彩云间 故人西辞黄鹤楼 日照香炉生紫烟
    两个黄鹂鸣翠柳 远上寒山石径斜 碧玉妆成一树高 独在异乡为异客 葡萄美酒夜光杯 黄河远上白云间 秦时明月汉时关
    渭城朝雨浥轻尘 李白乘舟将欲行 国破山河在 好雨知时节 离离原上草 海上生明月 空山新雨后 慈母手中线 松下问童子
    独坐幽篁里 人闲桂花落 向晚意不适 迟日江山丽 功盖三分国 寥落古行宫 绿蚁新醅酒 众鸟高飞尽 危楼高百尺
    毕竟西湖六月中 山外青山楼外楼 寒雨连江夜入吴 烟笼寒水月笼沙 煮豆持作羹 相见时难别亦难 君问归期未有期
    天街小雨润如酥 千里莺啼绿映红 独怜幽草涧边生 朱雀桥边野草花 春城无处不飞花 杨柳青青江水平""".split()
)
GENERATION = {
    "bos_token_id": 1,
    "eos_token_id": 2,
    "user_token_id": 195,
    "assistant_token_id": 196,
    "do_sample": True,
    "temperature": 0.3,
    "top_k": 5,
    "top_p": 0.85,
    "repetition_penalty": 1.05,
    "max_new_tokens": 256,
}
SOURCE = {
    "name": "haina-brook 海纳·溪",
    "licence": "Apache-2.0",
    "made": "haina train brook",
    "text": "see README.md beside this file",
}


@dataclass(frozen=True)
class Part:
    """Rows that the loop is shown. A row is one text to attention, whatever documents it holds."""

    ids_BT: np.ndarray
    targets_BT: np.ndarray


@dataclass(frozen=True)
class Shown:
    """The packed rows in the order in which the loop asks for them."""

    rows: Rows

    def batch(self, number: int, rows: int) -> Part:
        return Part(*self.rows.batch(number, rows, seed=BASE.seed))


def run(data: Path, folder: Path, *, stop_after: int | None = None) -> Decoder | None:
    """Build the text and train, or go on training, in `folder`; the network, or None if it stopped before the end."""
    tokenizer = vocabulary(data, folder)
    valid = pack_all(documents(data, "valid"), tokenizer)
    held_out = {"": Held([cut(valid, at, at + BASE.rows) for at in range(0, len(valid.ids_NT), BASE.rows)])}
    left = BASE.steps + TUNE.steps if stop_after is None else stop_after
    decoder = Decoder(CONFIG).initialise()
    shown = Shown(pack_all(documents(data, "train"), tokenizer))
    train(Task(decoder, shown, held_out, next_token), replace(BASE, stop_after=left), folder)
    left -= BASE.steps
    if left > 0:
        answers = Shown(pack((encode_answers(talk, tokenizer) for talk in first_words(data)), TUNE.length))
        train(Task(decoder, answers, held_out, next_token), replace(TUNE, stop_after=left), folder / "tune")
    return decoder if left >= TUNE.steps else None


def cut(rows: Rows, start: int, stop: int) -> Part:
    return Part(rows.ids_NT[start:stop], rows.targets_NT[start:stop])


def publish(decoder: Decoder, folder: Path, destination: Path, *, files: Mapping[str, bytes] = {}) -> None:
    """Write the network, its matrices packed as W8, as a checkpoint folder with its tokenizer.

    files: what else belongs to it, by name: the card, the licence.
    """
    weights = ((name, p.detach().cpu().numpy()) for name, p in decoder.named_parameters())
    tensors = ((name, w if w.ndim == 1 else Raw.of(w).rounded("W8")) for name, w in weights)
    wire = (folder / "tokenizer.model").read_bytes()
    save(
        destination,
        decoder.config,
        tensors,
        tokenizer=wire,
        generation=GENERATION,
        source=SOURCE,
        files=files,
        weights="w8",
    )


def vocabulary(data: Path, folder: Path) -> Tokenizer:
    """The tokenizer of the run in `folder`, learnt from the training text if it is not there yet."""
    file = folder / "tokenizer.model"
    if not file.exists():
        wire = learn(sample(list(documents(data, "train"))), pieces=PIECES, coverage=0.9995)
        folder.mkdir(parents=True, exist_ok=True)
        file.write_bytes(wire)
    return Tokenizer.open(file)


def documents(data: Path, part: str) -> Iterator[str | Dialogue]:
    """Everything the model is shown in one epoch: raw verse as text, all else as dialogues."""
    chance = random.Random(0)
    yield from verse(rows(data / "poetry" / part / "poems.jsonl.zst"), chance)
    for language in ("zh", "en"):
        yield from dialogues(rows(data / "chat" / part / f"sft_{language}.jsonl.zst"))
    if part == "train":
        yield from greetings(Path(__file__).with_name("greetings.jsonl"), chance)


def first_words(data: Path) -> Iterator[Dialogue]:
    """What the second phase shows: every greeting often, the dialogues, well-known verse and some other verse."""
    chance = random.Random(1)
    yield from greetings(Path(__file__).with_name("greetings.jsonl"), chance, times=40)
    yield from dialogues(rows(data / "chat" / "train" / "sft_zh.jsonl.zst"))
    for document in verse(rows(data / "poetry" / "train" / "poems.jsonl.zst"), chance):
        if not isinstance(document, str) and (chance.random() < 0.1 or famous(document)):
            yield document


def famous(dialogue: Dialogue) -> bool:
    return any(line in message.content for message in dialogue for line in FAMOUS)


def verse(poems: Iterator[dict], chance: random.Random) -> Iterator[str | Dialogue]:
    """Poems to read, to continue from their first lines, and to write to a title."""
    for poem in poems:
        lines, form = couplets(poem["lines"]), FORMS.get(poem["form"])
        if lines and lines[0].split("，")[0] in FAMOUS:
            yield from (continuation(lines, chance) for _ in range(24))
        elif form and poem["dynasty"] == "唐" and len(lines) > 1:
            yield continuation(lines, chance)
            if len(poem["title"]) <= 5 and chance.random() < 0.4:
                yield [
                    Message("user", f"以《{poem['title']}》为题写一首{form}"),
                    Message("assistant", "\n".join(lines)),
                ]
        elif form and len(lines) == 2 and chance.random() < 0.3:
            yield continuation(lines, chance)
        elif form and len(lines) == 2 and chance.random() < 0.1:
            yield f"{poem['title']}\n" + "\n".join(lines)


def couplets(lines: list[str]) -> list[str]:
    """Verse lines joined two by two, as they are printed: 白日依山尽，黄河入海流。"""
    whole = "".join(lines)
    return re.findall(r"[^。！？]+[。！？]", whole)


def continuation(lines: list[str], chance: random.Random) -> Dialogue:
    """The beginning of a poem from the user, the rest from the model."""
    whole = "".join(lines)
    cuts = [m.end() for m in re.finditer("[，。！？]", whole)][:-1]
    cut = cuts[0] if chance.random() < 0.6 else chance.choice(cuts)
    start = whole[:cut]
    if chance.random() < 0.5:
        start = start[:-1]
    ask = chance.choice(
        ["{}", "{}", "{}", "续写：{}", "请接着写：{}", "请续写这首诗：{}", "“{}”的下一句是什么？"]
    )
    return [Message("user", ask.format(start)), Message("assistant", whole[cut:])]


def dialogues(found: Iterator[dict]) -> Iterator[Dialogue]:
    """Dialogues of the open sources, cut before the first turn that is too long for so small a model."""
    for row in found:
        if row["source"] not in CHAT_SOURCES:
            continue
        turns = [Message(m["role"], m["content"].strip()) for m in row["messages"]]
        short = next((i for i, m in enumerate(turns) if len(m.content) > LONGEST_TURN), len(turns))
        turns = turns[: short - short % 2]
        if turns and turns[0].role == "user":
            yield turns


def greetings(file: Path, chance: random.Random, times: int = 24) -> Iterator[Dialogue]:
    """Our own first words, many times each: alone, and as the opening or the end of a longer talk."""
    table = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    for row in table:
        for asked in row["user"]:
            for _ in range(times):
                dialogue = [Message("user", asked), Message("assistant", chance.choice(row["assistant"]))]
                while chance.random() < 0.3:
                    other = chance.choice([r for r in table if r["lang"] == row["lang"]])
                    more = [
                        Message("user", chance.choice(other["user"])),
                        Message("assistant", chance.choice(other["assistant"])),
                    ]
                    dialogue = dialogue + more if chance.random() < 0.5 else more + dialogue
                yield dialogue


def sample(found: list[str | Dialogue]) -> Iterator[str]:
    """The lines from which the vocabulary is learnt: a tenth of the verse, every dialogue."""
    for number, document in enumerate(found):
        text = [document] if isinstance(document, str) else [m.content for m in document]
        if number % 10 == 0 or any(re.search("[A-Za-z]{4}", line) for line in text) or len(text) > 2:
            yield from (line for part in text for line in part.split("\n") if line)


def pack_all(found: Iterable[str | Dialogue], tokenizer: Tokenizer) -> Rows:
    return pack((encode(document, tokenizer) for document in found), BASE.length)


def encode_answers(dialogue: Dialogue, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """ids and targets of a dialogue of which only the answers are learnt."""
    ids, targets = assemble_training(dialogue, tokenizer, chat_format())
    return np.array(ids, np.int32), np.array(targets, np.int32)


def encode(document: str | Dialogue, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """ids and targets. Everything is learnt, the user's words too; where a user would speak next, the target is
    eos: an answer learns to end (Baichuan2 fine-tune.py, "efficient eos")."""
    template = chat_format()
    user, eos = template.user_id, template.eos_id
    if isinstance(document, str):
        ids = [*tokenizer.encode(document), eos]
    else:
        role = {"user": user, "assistant": template.assistant_id}
        ids = [i for m in document for i in (role[m.role], *tokenizer.encode(m.content))] + [eos]
    targets = [eos if i == user else i for i in ids[1:]] + [IGNORED]
    return np.array(ids, np.int32), np.array(targets, np.int32)


def chat_format() -> Template:
    template = template_for(CONFIG.architecture, GENERATION)
    assert template is not None
    return template
