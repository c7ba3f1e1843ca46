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
    # Where the context stands, the first that is there; the second was the name of the earliest LLaMA.
    context_keys: tuple[str, ...] = ("max_position_embeddings", "max_sequence_length")
    grouped: bool = True  # whether num_key_value_heads may differ from num_attention_heads
    fixed: Mapping[str, bool] = field(default_factory=dict)  # switches that no key of config.json says


_LLAMA = Family("LLaMA", qkv="split")

FAMILIES: dict[str, Family] = {
    # Baichuan-7B: the capital C is how the first release spelt it.
    "BaiChuanForCausalLM": Family("Baichuan", qkv="packed", head="detect", grouped=False),
    # Baichuan-13B (ALiBi), Baichuan2-7B (RoPE, NormHead) and Baichuan2-13B (ALiBi, NormHead) share one name.
    "BaichuanForCausalLM": Family(
        "Baichuan",
        qkv="packed",
        position="detect",
        head="detect",
        context_keys=("model_max_length", "max_position_embeddings"),
        grouped=False,
    ),
    "LlamaForCausalLM": _LLAMA,
    "LLaMAForCausalLM": _LLAMA,  # the spelling of March 2023
}

# Keys of config.json that do not change what is computed: bookkeeping of the transformers library, settings of
# training (dropout among them) and of generation, token ids that the tokenizer tells us anyway. Everything else
# must be known or switched off.
NEUTRAL_KEYS = frozenset(
    """_attn_implementation _attn_implementation_autoset _commit_hash _experts_implementation
    _flash_attn_2_enabled _from_model_config _name_or_path _use_flash_attention_2 architectures
    attention_dropout attn_implementation attn_pdrop auto_map bad_words_ids begin_suppress_tokens
    bos_token_id chunk_size_feed_forward decoder_start_token_id diversity_penalty do_sample dropout dtype
    early_stopping embd_pdrop encoder_no_repeat_ngram_size eos_token_id exponential_decay_length_penalty
    finetuning_task forced_bos_token_id forced_eos_token_id gradient_checkpointing hidden_dropout id2label
    initializer_range is_decoder is_encoder_decoder label2id length_penalty max_length max_new_tokens
    max_sequence_length max_window_layers min_length min_new_tokens model_max_length model_type name_or_path
    no_repeat_ngram_size num_beam_groups num_beams num_labels num_return_sequences output_attentions
    output_hidden_states output_scores pad_token_id prefix pretraining_tp problem_type remove_invalid_values
    renormalize_logits repetition_penalty resid_pdrop return_dict return_dict_in_generate sep_token_id
    suppress_tokens task_specific_params temperature tf_legacy_loss tie_encoder_decoder tokenizer_class
    tokenizer_file top_k top_p torch_dtype torchscript transformers_version typical_p unk_token_id
    unsloth_fixed unsloth_version use_bfloat16 use_cache use_flash_attention_2 z_loss_weight""".split()
)

# Keys of quantization_config that do not change 4-bit weights: how bitsandbytes would compute with them, what only
# its 8-bit weights know, and whether scales are nested, which the weights say themselves.
BITSANDBYTES_NEUTRAL_KEYS = frozenset(
    """_load_in_4bit _load_in_8bit bnb_4bit_compute_dtype bnb_4bit_use_double_quant
    llm_int8_enable_fp32_cpu_offload llm_int8_has_fp16_weight llm_int8_skip_modules llm_int8_threshold""".split()
)
