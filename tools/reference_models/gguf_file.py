"""A model as a GGUF file, the form that llama.cpp reads."""

from pathlib import Path
from typing import Final, Literal

import gguf
from tools.reference_models import tokenizer
from tools.reference_models.model import Model

Precision = Literal["f16", "q8_0"]
PRECISIONS: Final[tuple[Precision, ...]] = ("f16", "q8_0")
_TYPES: Final = {
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}
_BLOCK_NAMES: Final = {
    "attention_norm": "attn_norm",
    "query": "attn_q",
    "key": "attn_k",
    "value": "attn_v",
    "output": "attn_output",
    "hidden_norm": "ffn_norm",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}
"""Our names for the parts of a block, and llama.cpp's."""


def write(name: str, model: Model, precision: Precision, path: Path) -> None:
    """Write the matrices in this precision (q8_0: 8 bits, and a 16-bit scale for 32 of them), the norms in 32 bits."""
    shape = model.shape
    kind, file_type = _TYPES[precision]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(f"Penstock {name}")
    writer.add_author("The Penstock authors")
    writer.add_license("Apache-2.0")
    writer.add_description("A small reference model for tests and measurements, trained on drills.")
    writer.add_file_type(file_type)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_vocab_size(tokenizer.SIZE)

    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokenizer.tokens())
    ordinary = tokenizer.SIZE - len(tokenizer.CONTROL)
    writer.add_token_types([gguf.TokenType.NORMAL] * ordinary + [gguf.TokenType.CONTROL] * len(tokenizer.CONTROL))
    writer.add_token_merges([" ".join(pair) for pair in tokenizer.merges()])
    # Nothing begins a chat but its first turn; a file that names no beginning token gets one from the engine.
    writer.add_bos_token_id(tokenizer.CONTROL_IDS[tokenizer.END])
    writer.add_eos_token_id(tokenizer.CONTROL_IDS[tokenizer.END])
    writer.add_eot_token_id(tokenizer.CONTROL_IDS[tokenizer.END])
    writer.add_pad_token_id(tokenizer.CONTROL_IDS[tokenizer.END])
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template(tokenizer.CHAT_TEMPLATE)

    for ours, weight in model.state_dict().items():
        if weight.ndim == 2:
            # From 16 bits in either case, so that both files are of the same weights.
            values = weight.half().numpy()
            writer.add_tensor(_tensor_name(ours), gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(_tensor_name(ours), weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensor_name(name: str) -> str:
    """Return llama.cpp's name of a weight; there is no output matrix, so the engine takes the embedding for it."""
    match name.split("."):
        case ["embedding", "weight"]:
            return "token_embd.weight"
        case ["norm", "weight"]:
            return "output_norm.weight"
        case ["blocks", index, part, "weight"]:
            return f"blk.{index}.{_BLOCK_NAMES[part]}.weight"
    raise ValueError(f"no name for {name}")
