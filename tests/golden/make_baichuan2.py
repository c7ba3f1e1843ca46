"""Make the two Baichuan 2 fixtures beside this file: folders as people have them, with the answers in them.

    python make_baichuan2.py PUBLISHED [OUT]

PUBLISHED holds the published code, unedited, as packages `baichuan2_7b` and `baichuan2_13b`. The README beside
this file says where it is from and in which environment it runs. It alone computes the answers; this script
draws the weights, writes the folders and asks. Nothing of haina is imported: an oracle must not know us.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
import transformers
from torch import Tensor

Json = dict[str, Any]


@dataclass(frozen=True)
class Style:
    """One of the two published networks, made tiny: whose code, which seed, what differs in config.json.

    Seeds were tried until the repetition penalty changes the greedy text and no gap is below SMALLEST_GAP.
    """

    package: str
    source: str
    seed: int
    config: Json


CONTEXT_TOKENS = 160
STYLES = {
    "baichuan2-7b-style": Style(
        package="baichuan2_7b",
        source="pandong2011/Baichuan2@ad4d81ec47b658b41705335115708b3e171f6ff4 models/",
        seed=13,
        config={
            "hidden_size": 72,
            "intermediate_size": 124,
            "num_attention_heads": 6,
            "num_hidden_layers": 2,
            "max_position_embeddings": CONTEXT_TOKENS,
        },
    ),
    "baichuan2-13b-style": Style(
        package="baichuan2_13b",
        source="jrd77/Baichuan2-13B-Chat@d022d7264467b2c3bc483e7a3a17105dedba50b8",
        seed=41,
        config={
            "hidden_size": 60,
            "intermediate_size": 92,
            "num_attention_heads": 5,
            "num_hidden_layers": 3,
            "gradient_checkpointing": False,
        },
    ),
}
CONFIG: Json = {
    "_from_model_config": True,
    "architectures": ["BaichuanForCausalLM"],
    "auto_map": {
        "AutoConfig": "configuration_baichuan.BaichuanConfig",
        "AutoModelForCausalLM": "modeling_baichuan.BaichuanForCausalLM",
    },
    "tokenizer_class": "BaichuanTokenizer",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "model_max_length": CONTEXT_TOKENS,
    "model_type": "baichuan",
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.29.2",
    "use_cache": True,
    "vocab_size": 611,
    "z_loss_weight": 0,
}
GENERATION: Json = {
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "user_token_id": 195,
    "assistant_token_id": 196,
    "max_new_tokens": 64,
    "temperature": 0.3,
    "top_k": 5,
    "top_p": 0.85,
    "repetition_penalty": 1.05,
    "do_sample": True,
    "transformers_version": "4.29.2",
}
TOKENIZER: Json = {
    "add_bos_token": False,
    "add_eos_token": False,
    "auto_map": {"AutoTokenizer": ["tokenization_baichuan.BaichuanTokenizer", None]},
    "clean_up_tokenization_spaces": False,
    "model_max_length": CONTEXT_TOKENS,
    "sp_model_kwargs": {},
    "tokenizer_class": "BaichuanTokenizer",
}

PIECES = 600
FIRST_RESERVED_ID = 89  # so that 195 and 196, the roles, are <reserved_106> and <reserved_107>
TEXT = """
海纳百川，有容乃大。 The sea takes in all rivers.
清晨的茶馆里坐满了人，老猫睡在温暖的炉子旁。
In the morning the tea house is full, and the old cat sleeps on the warm stove.
这座桥有三百多年的历史，桥长 86 米，宽 7 米。
The bridge is 321 years old, 86 metres long and 7 metres wide.
请问：去茶馆怎么走？先往北走，再向右拐。
Excuse me, how do I get to the tea house? Go north, then turn right.
def area(r):
    return 3.14159 * r * r
""".strip().splitlines()
PROMPTS = [
    "海纳百川，有容乃大。",
    "In the morning the tea house is full, and the",
    "这座桥有 321 年的历史。\nThe old cat sleeps, 听雨 🍵",
]
CHATS: list[tuple[str, list[tuple[str, str]]]] = [
    (
        "the system text stands in front, without a marker",
        [("system", "请用中文回答。"), ("user", "How long is the bridge?")],
    ),
    (
        "three rounds, no bos, no eos between them",
        [
            ("user", "去茶馆怎么走？"),
            ("assistant", "先往北走。"),
            ("user", "再往哪里走？"),
            ("assistant", "向右拐。"),
            ("user", "Thank you. 谢谢！"),
        ],
    ),
    (
        "too long: the published truncation drops the oldest round; the answer has begun and gets no second 196",
        [
            ("system", "You are a guide."),
            ("user", "The old cat sleeps on the warm stove, and the tea house is full of rivers. " * 2),
            ("assistant", "老猫睡在炉子旁。"),
            ("user", "桥有多长？"),
            ("assistant", "桥长 86 米，"),
        ],
    ),
]
DECODE_PROMPT, DECODE_STEPS = 1, 20
GREEDY_PROMPT, GREEDY_TOKENS = 0, 24
SMALLEST_GAP = 0.02  # between the best and the second candidate: far above every tolerance


def train_tokenizer() -> bytes:
    """A tokenizer.model with the settings of Baichuan 2 (arXiv:2309.10305, "Tokenizer"), trained on TEXT."""
    pieces = ["<SEP>", "<CLS>", "\n", "\t"]
    pieces += [f"<tag_{i}>" for i in range(FIRST_RESERVED_ID - 3 - len(pieces))]
    pieces += [f"<reserved_{i}>" for i in range(110)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT),
        model_writer=model,
        model_type="bpe",
        vocab_size=PIECES,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        split_digits=True,
        byte_fallback=True,
        character_coverage=0.9999,
        max_sentencepiece_length=32,
        user_defined_symbols=pieces,
        minloglevel=2,
    )
    return model.getvalue()


def draw_weights(model: torch.nn.Module, seed: int) -> dict[str, Tensor]:
    """A bfloat16 state dict. Rows of lm_head differ in length by up to e⁶, so a NormHead forgotten is far off."""
    random = torch.Generator().manual_seed(seed)
    state = {}
    for name, parameter in model.named_parameters():
        weight = torch.randn(parameter.shape, generator=random)
        if parameter.dim() == 1:
            weight = 1.6 + 0.3 * weight
        elif name == "lm_head.weight":
            weight *= torch.exp(6 * torch.rand(len(weight), 1, generator=random) - 3)
        elif name != "model.embed_tokens.weight":
            weight *= parameter.shape[1] ** -0.5
        state[name] = weight.bfloat16()
    return state


def write_json(file: Path, content: Json) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def write_weights(folder: Path, state: dict[str, Tensor]) -> None:
    """Two shards with an index, cut in the middle of a layer as the released files are."""
    names, weight_map = list(state), {}
    for number, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), 1):
        file = f"pytorch_model-{number:05}-of-00002.bin"
        torch.save({name: state[name] for name in part}, folder / file)
        weight_map.update(dict.fromkeys(part, file))
    total_bytes = sum(tensor.nbytes for tensor in state.values())
    index = {"metadata": {"total_size": total_bytes}, "weight_map": dict(sorted(weight_map.items()))}
    write_json(folder / "pytorch_model.bin.index.json", index)


def open_published(package: str, folder: Path) -> tuple[Any, Any]:
    """The published model, in float32 with the folder's weights, and the published tokenizer."""
    config_class = importlib.import_module(f"{package}.configuration_baichuan").BaichuanConfig
    model_class = importlib.import_module(f"{package}.modeling_baichuan").BaichuanForCausalLM
    tokenizer_class = importlib.import_module(f"{package}.tokenization_baichuan").BaichuanTokenizer
    model = model_class(config_class.from_pretrained(folder)).float().eval()
    model.generation_config = transformers.GenerationConfig.from_pretrained(folder)
    shards = sorted(folder.glob("*.bin"))
    if shards:
        model.load_state_dict({k: v.float() for file in shards for k, v in torch.load(file).items()})
    return model, tokenizer_class.from_pretrained(folder)


def gap(scores_V: Tensor) -> float:
    best, second = scores_V.topk(2).values.tolist()
    return float(best - second)


def decode(model: Any, ids: list[int]) -> tuple[list[int], Tensor, float]:
    """Greedy tokens, one at a time through the KV cache; the logits that chose each; the smallest gap."""
    feed, past, tokens, rows = ids, None, [], []
    for _ in range(DECODE_STEPS):
        out = model(input_ids=torch.tensor([feed]), past_key_values=past, use_cache=True)
        rows.append(out.logits[0, -1])
        tokens.append(int(rows[-1].argmax()))
        feed, past = tokens[-1:], out.past_key_values
    return tokens, torch.stack(rows), min(map(gap, rows))


def greedy(model: Any, ids: list[int]) -> tuple[list[int], float]:
    """Prompt and continuation by `generate` with the repetition penalty, and the smallest gap."""
    settings = transformers.GenerationConfig(
        do_sample=False,
        max_new_tokens=GREEDY_TOKENS,
        repetition_penalty=GENERATION["repetition_penalty"],
        pad_token_id=0,
        return_dict_in_generate=True,
        output_scores=True,
    )
    out = model.generate(torch.tensor([ids]), generation_config=settings)
    return out.sequences[0].tolist(), min(gap(scores[0]) for scores in out.scores)


def chats(model: Any, tokenizer: Any, assemble: Callable[..., Tensor]) -> list[Json]:
    """The ids of each conversation by the published generation_utils.build_chat_input."""
    cases = []
    for note, messages in CHATS:
        case: Json = {"note": note, "messages": [{"role": r, "content": c} for r, c in messages]}
        case["max_new_tokens"] = GENERATION["max_new_tokens"]
        ids = assemble(model, tokenizer, case["messages"], GENERATION["max_new_tokens"])
        cases.append({**case, "ids": ids[0].tolist()})
    return cases


@torch.no_grad()
def reference(model: Any, tokenizer: Any, package: str) -> tuple[dict[str, np.ndarray], Json]:
    """Everything the tests compare with: arrays, and what goes into reference.json about them."""
    arrays: dict[str, np.ndarray] = {}
    prompts = [tokenizer.encode(text) for text in PROMPTS]
    for number, ids in enumerate(prompts):
        out = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
        arrays[f"ids_{number}"] = np.array(ids)
        arrays[f"logits_{number}"] = out.logits[0].numpy()
        if number == 0:
            arrays["hidden_0"] = torch.stack([x[0] for x in out.hidden_states]).numpy()
    tokens, logits, decode_gap = decode(model, prompts[DECODE_PROMPT])
    arrays |= {"decode_tokens": np.array(tokens), "decode_logits": logits.numpy()}
    ids, greedy_gap = greedy(model, prompts[GREEDY_PROMPT])
    arrays["greedy_ids"] = np.array(ids)
    assert min(decode_gap, greedy_gap) > SMALLEST_GAP, f"gaps {decode_gap}, {greedy_gap}: take another seed"
    return arrays, {
        "prompts": PROMPTS,
        "logits_std": float(logits.std()),
        "decode": {"prompt": DECODE_PROMPT, "steps": DECODE_STEPS, "smallest_gap": decode_gap},
        "greedy": {
            "prompt": GREEDY_PROMPT,
            "max_new_tokens": GREEDY_TOKENS,
            "repetition_penalty": GENERATION["repetition_penalty"],
            "smallest_gap": greedy_gap,
        },
        "chat": chats(
            model, tokenizer, importlib.import_module(f"{package}.generation_utils").build_chat_input
        ),
    }


def sha256(files: list[Path]) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(files)}


def make(name: str, style: Style, published: Path, out: Path) -> None:
    folder = out / name
    folder.mkdir()
    write_json(folder / "config.json", {**CONFIG, **style.config})
    write_json(folder / "generation_config.json", GENERATION)
    write_json(folder / "tokenizer_config.json", TOKENIZER)
    (folder / "tokenizer.model").write_bytes(train_tokenizer())
    write_weights(folder, draw_weights(open_published(style.package, folder)[0], style.seed))
    model, tokenizer = open_published(style.package, folder)
    arrays, facts = reference(model, tokenizer, style.package)
    np.savez_compressed(folder / "reference.npz", **arrays)
    about = {
        "style": name,
        "source": style.source,
        "published_code_sha256": sha256(list((published / style.package).glob("*.py"))),
        "seed": style.seed,
        "versions": {m.__name__: m.__version__ for m in (transformers, torch, np, sentencepiece)},
        "stored_dtype": "bfloat16",
        "dtype_of_reference": "float32",
        "tolerance_abs": 2e-3,
        "sentencepiece_pieces": tokenizer.sp_model.get_piece_size(),
        "pieces_195_196": [tokenizer.sp_model.id_to_piece(id) for id in (195, 196)],
        "files_sha256": sha256(list(folder.iterdir())),
        **facts,
    }
    write_json(folder / "reference.json", about)


def main(published: str, out: str = str(Path(__file__).parent)) -> None:
    sys.path.insert(0, published)
    for name, style in STYLES.items():
        make(name, style, Path(published), Path(out))


if __name__ == "__main__":
    main(*sys.argv[1:])
