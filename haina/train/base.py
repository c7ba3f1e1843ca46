"""A model to begin with: its folder, its chat format, and the network that is trained, whole or through an adapter.

It knows checkpoints and chat formats, as serving does; it does not know what is learnt, nor how.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from haina.checkpoint.adapter import fingerprint
from haina.checkpoint.checkpoint import Checkpoint
from haina.data.dialogues import Dialogue
from haina.model.config import ModelConfig
from haina.model.decoder import Decoder
from haina.options.tuning import TuneOptions
from haina.text.messages import TEMPLATES, Template, assemble, template_for
from haina.text.tokenizer import Tokenizer
from haina.train.lora import Lora, fresh, open_decoder
from haina.train.pretrain import Device, chosen_device
from haina.wording import say

LONGEST = 2048  # tokens of a row, unless asked for


@dataclass(frozen=True)
class Base:
    """A model to begin with. template: of its folder, or of its family if it has not been taught to answer yet."""

    checkpoint: Checkpoint
    template: Template
    device: Device
    speaks: bool = True  # the folder says its chat format: it was taught to answer

    @classmethod
    def open(cls, folder: Path, device: Literal["auto", "cpu", "cuda", "mps"]) -> Base:
        """ValueError: no such model, damaged files, no chat format, or one that its vocabulary does not have."""
        checkpoint = Checkpoint.open(folder)
        architecture = checkpoint.config.architecture
        template = template_for(architecture, checkpoint.generation) or TEMPLATES.get(architecture)
        if (
            template is None
            or not {template.user_id, template.assistant_id} <= checkpoint.tokenizer.control_ids
        ):
            raise ValueError(
                say(
                    f"{folder}: no chat format: its vocabulary has no ids for the roles; name them in "
                    "generation_config.json (user_token_id, assistant_token_id), or take another model",
                    f"{folder}：没有对话格式，词表中没有角色词元；请在 generation_config.json 中指定"
                    "（user_token_id、assistant_token_id），或换一个模型",
                )
            )
        speaks = template_for(architecture, checkpoint.generation) is not None
        return cls(checkpoint, template, chosen_device(device), speaks)

    @property
    def config(self) -> ModelConfig:
        return self.checkpoint.config

    @property
    def tokenizer(self) -> Tokenizer:
        return self.checkpoint.tokenizer

    @property
    def generation(self) -> dict[str, Any]:
        """generation_config.json of what comes of it: the chat format is told."""
        ids = {"user_token_id": self.template.user_id, "assistant_token_id": self.template.assistant_id}
        return {
            "eos_token_id": self.template.eos_id,
            "max_new_tokens": 256,
            **self.checkpoint.generation,
            **ids,
        }

    def notes(self, asked: TuneOptions) -> list[str]:
        """What will work, but not well."""
        if self.speaks or not (asked.lora or asked.qlora):
            return []
        folder = self.checkpoint.folder
        return [
            say(
                f"note: {folder} is a base model that may never have seen the ids of the roles, which LoRA leaves as "
                "they are; its first sft is better without --lora",
                f"注意：{folder} 是基座模型，可能从未见过角色词元，而 LoRA 不改动它们；第一次 sft 最好不带 --lora",
            )
        ]

    def about(self) -> dict[str, Any]:
        """What tells this model from another."""
        files = {
            p.name: p.stat().st_size
            for p in self.checkpoint.files()
            if p.suffix in (".safetensors", ".bin", ".gguf")
        }
        manifest = self.checkpoint.folder / "manifest.json"
        known = manifest.read_text("utf-8") if manifest.exists() else json.dumps(files, sort_keys=True)
        whole = json.dumps(self.config.to_hf(), sort_keys=True) + self.tokenizer.sha256 + known
        return {"model": hashlib.sha256(whole.encode()).hexdigest()[:16]}

    def decoder(self) -> Decoder:
        """The weights, in fp32."""
        tensors = ((name, raw.float32()) for name, raw in self.checkpoint.tensors())
        return Decoder.load(self.config, tensors).to(self.device)

    def prompt_ids(self, messages: Dialogue) -> list[int]:
        """What the model is shown when it is to answer, as in serving."""
        return list(assemble(messages, self.tokenizer, self.template, room_tokens=1 << 30).ids)

    def answer_ids(self, answer: str) -> list[int]:
        """An answer and its end."""
        return [*self.tokenizer.encode(answer), self.template.eos_id]

    def length(self, asked: int | None) -> int:
        """Tokens of a row. ValueError: more than the model reads."""
        most = self.config.max_position_embeddings
        if (asked or 0) > most:
            raise ValueError(
                say(
                    f"{self.checkpoint.folder}: reads {most:,} tokens at most; lower --length to that",
                    f"{self.checkpoint.folder}：上下文至多 {most:,} 词元；请调小 --length",
                )
            )
        return asked or min(most, LONGEST)


@dataclass(frozen=True)
class Network:
    """What is trained: all weights, or the pairs of an adapter on weights that stay as they are."""

    decoder: Decoder
    lora: Lora | None

    @classmethod
    def open(cls, base: Base, asked: TuneOptions) -> Network:
        """ValueError: a rank or a target that will not do."""
        if not (asked.lora or asked.qlora):
            return cls(base.decoder(), None)
        decoder = open_decoder(base.checkpoint, bits=4 if asked.qlora else 16).to(base.device)
        new = fresh(
            base.config,
            rank=asked.rank,
            alpha=asked.alpha,
            dropout=0.0,
            targets=asked.targets.split(","),
            base=base.checkpoint.folder.resolve().name,
            seed=asked.seed,
        )
        own = replace(new, base_sha256=fingerprint(base.checkpoint), generation=base.generation)
        lora = Lora(decoder, own)
        return cls(decoder, lora)

    def about(self, asked: TuneOptions) -> dict[str, Any]:
        """What tells this kind of training from another."""
        if self.lora is None:
            return {"lora": None}
        return {
            "lora": {
                "rank": asked.rank,
                "alpha": asked.alpha,
                "targets": asked.targets,
                "packed": asked.qlora,
            }
        }
