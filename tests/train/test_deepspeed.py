"""A ds_config.json becomes options; what cannot be followed is named. And splits that cannot be, are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from haina.model.config import ModelConfig
from haina.options.training import PretrainOptions
from haina.train.deepspeed import migrated
from haina.train.distributed import require_split
from haina.train.plan import SIZES, shape
from haina.train.sharding import require_shares

CONFIG = {  # of the kind that Baichuan-7B's train.py was run with
    "train_micro_batch_size_per_gpu": 1,
    "gradient_accumulation_steps": 16,
    "optimizer": {
        "type": "AdamW",
        "params": {"lr": 2e-4, "betas": [0.9, 0.99], "eps": 1e-8, "weight_decay": 1e-4},
    },
    "scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 2000, "warmup_max_lr": "auto"}},
    "gradient_clipping": 0.5,
    "bf16": {"enabled": True},
    "fp16": {"enabled": False},
    "zero_optimization": {"stage": 2, "overlap_comm": True, "reduce_bucket_size": 1e8},
    "steps_per_print": 16,
}


def read(folder: Path, changes: dict[str, Any], **asked: Any) -> tuple[PretrainOptions, str]:
    file = folder / "ds_config.json"
    file.write_text(json.dumps(CONFIG | changes))
    found, (told,) = migrated(PretrainOptions(deepspeed=str(file), size="7b", **asked), 8)
    return found, told


def test_what_it_says_becomes_options_unless_a_flag_does(tmp_path: Path) -> None:
    found, told = read(tmp_path, {}, clip=1.0)
    assert (found.optimiser, found.matrix_lr, found.other_lr) == ("adamw", 2e-4, 2e-4)
    assert (found.beta2, found.weight_decay, found.warm_up, found.clip) == (0.99, 1e-4, 2000, 1.0)
    assert (found.precision, found.rows, found.batch, found.replicas) == ("bf16", 1, 16 * 8 * 4096, 1)
    assert found.schedule == "constant"  # what WarmupLR is
    assert "matrix_lr 0.0002" in told and "clip" not in told.split("ignored")[0]
    assert all(name in told for name in ("overlap_comm", "optimizer.params.eps", "steps_per_print"))
    assert "warmup_max_lr" not in told


def test_zero_0_holds_everything_everywhere(tmp_path: Path) -> None:
    changes = {"zero_optimization": {"stage": 0}, "train_batch_size": 256}
    found, _ = read(tmp_path, changes, tensor_parallel=2)
    assert (found.replicas, found.batch) == (4, 256 * 4096)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pipeline": {"stages": 4}}, "pipeline.stages is no key"),
        ({"fp16": {"enabled": True}}, "fp16.enabled True cannot be followed; take bf16"),
        ({"optimizer": {"type": "Lamb"}}, "'Lamb' cannot be followed"),
        ({"scheduler": {"type": "OneCycle"}}, "scheduler.type 'OneCycle' cannot be followed"),
        ({"gradient_clipping": "much"}, "gradient_clipping 'much' cannot"),
    ],
)
def test_what_cannot_be_followed_is_named(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read(tmp_path, changes)


def test_splits_that_cannot_be_are_refused_with_those_that_can() -> None:
    with pytest.raises(ValueError, match="6 processes cannot be split into 2 replicas × 2"):
        require_split(6, 2, 2)
    config: ModelConfig = shape(SIZES["13b"], 64000, length=4096, position="alibi", head="plain")
    require_shares(config, 8)
    with pytest.raises(ValueError, match=r"40 heads and 13696 rows .* 16 equal shares; .* may be 1, 2, 4, 8"):
        require_shares(config, 16)
    with pytest.raises(ValueError, match="train this model in one"):
        require_shares(replace(config, tie_word_embeddings=True), 1)
