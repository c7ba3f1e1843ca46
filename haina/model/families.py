"""The model families as rows of a table: what their config.json says and how their weights lie in the file.

No code: `model/config.py` reads the switches, `checkpoint/` reads the layout. A family whose block the
switches of `ModelConfig` cannot say has no row here and is refused by name.

Sources: baichuan-inc/Baichuan-7B@6f3ef46 models/; AlibabaPAI/FlashModels hf_models/config/baichuan-13b-base
(hub commit 0ef0739); jrd77/Baichuan2-13B-Chat@d022d72; huggingface/transformers models/llama.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Family:
    """One family: its name for people, the layout of its files, and where its config.json keeps things."""

    name: str
    qkv: Literal["split", "packed"]  # q_proj, k_proj, v_proj, or one W_pack [3D, D]: rows q, then k, then v
    position: Literal["rope", "alibi", "detect"] = "rope"
    head: Literal["plain", "detect"] = "plain"
    context_keys: tuple[str, ...] = ("max_position_embeddings",)
    grouped: bool = True  # whether num_key_value_heads may differ from num_attention_heads
    fixed: Mapping[str, bool] = field(default_factory=dict)  # switches that no key of config.json says


FAMILIES: dict[str, Family] = {
    # Baichuan-7B: the capital C is how the first release spelt it.
    "BaiChuanForCausalLM": Family("Baichuan", qkv="packed", grouped=False),
    # Baichuan-13B (ALiBi), Baichuan2-7B (RoPE, NormHead) and Baichuan2-13B (ALiBi, NormHead) share one name.
    "BaichuanForCausalLM": Family(
        "Baichuan",
        qkv="packed",
        position="detect",
        head="detect",
        context_keys=("model_max_length", "max_position_embeddings"),
        grouped=False,
    ),
    "LlamaForCausalLM": Family("LLaMA", qkv="split"),
}

# Keys of config.json that do not change what is computed: bookkeeping of the transformers library, training
# settings, token ids that the tokenizer tells us anyway. Everything else must be known or switched off.
NEUTRAL_KEYS = frozenset(
    """_attn_implementation _commit_hash _from_model_config _name_or_path architectures auto_map bad_words_ids
    begin_suppress_tokens bos_token_id chunk_size_feed_forward diversity_penalty do_sample dtype early_stopping
    encoder_no_repeat_ngram_size eos_token_id exponential_decay_length_penalty finetuning_task forced_bos_token_id
    forced_eos_token_id gradient_checkpointing id2label initializer_range is_decoder is_encoder_decoder label2id
    length_penalty max_length max_sequence_length max_window_layers min_length model_type name_or_path
    no_repeat_ngram_size num_beam_groups num_beams num_return_sequences output_attentions output_hidden_states
    output_scores pad_token_id pretraining_tp problem_type repetition_penalty return_dict
    return_dict_in_generate sep_token_id tf_legacy_loss tie_encoder_decoder tokenizer_class tokenizer_file
    temperature top_k top_p torch_dtype torchscript transformers_version typical_p unk_token_id use_bfloat16
    use_cache z_loss_weight""".split()
)
