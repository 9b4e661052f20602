"""A model as a folder in Hugging Face's form: safetensors, tokenizer and chat template, as vLLM and others read it."""

from pathlib import Path
from typing import Final

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tools.reference_models import tokenizer
from tools.reference_models.model import Model
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

_BLOCK_NAMES: Final = {
    "attention_norm": "input_layernorm",
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "output": "self_attn.o_proj",
    "hidden_norm": "post_attention_layernorm",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}
"""Our names for the parts of a block, and Transformers'."""


def write(model: Model, folder: Path) -> None:
    """Write the weights as 16-bit floats, with all that is needed to chat."""
    shape = model.shape
    end = tokenizer.CONTROL_IDS[tokenizer.END]
    config = LlamaConfig(
        vocab_size=tokenizer.SIZE,
        hidden_size=shape.width,
        intermediate_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        head_dim=shape.head_width,
        max_position_embeddings=shape.context,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_base},
        rms_norm_eps=shape.norm_epsilon,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=end,
        dtype="float16",
    )
    written = LlamaForCausalLM(config)
    weights = {_weight_name(name): _arranged(name, weight, shape.heads) for name, weight in model.state_dict().items()}
    missing = written.load_state_dict(weights, strict=False)
    assert not missing.unexpected_keys
    assert missing.missing_keys == ["lm_head.weight"], "the output matrix alone is tied"
    written.half().save_pretrained(folder)
    _tokenizer(shape.context).save_pretrained(folder)


def _tokenizer(context: int) -> PreTrainedTokenizerFast:
    ids = {text: index for index, text in enumerate(tokenizer.tokens())}
    made = Tokenizer(models.BPE(vocab=ids, merges=list(tokenizer.merges())))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token=tokenizer.END,
        pad_token=tokenizer.END,
        additional_special_tokens=[text for text in tokenizer.CONTROL if text != tokenizer.END],
        chat_template=tokenizer.CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=context,
    )


def _weight_name(name: str) -> str:
    match name.split("."):
        case ["embedding", "weight"]:
            return "model.embed_tokens.weight"
        case ["norm", "weight"]:
            return "model.norm.weight"
        case ["blocks", index, part, "weight"]:
            return f"model.layers.{index}.{_BLOCK_NAMES[part]}.weight"
    raise ValueError(f"no name for {name}")


def _arranged(name: str, weight: Tensor, heads: int) -> Tensor:
    """
    Return the weight with the features of each head in the order in which Transformers turns them.

    It pairs a feature of the first half with one of the second; ours are neighbours.
    """
    if name.split(".")[-2] not in ("query", "key"):
        return weight
    rows, columns = weight.shape
    return torch.reshape(weight, (heads, rows // heads // 2, 2, columns)).transpose(1, 2).reshape(rows, columns)
