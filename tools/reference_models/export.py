"""Write a checkpoint as GGUF: `python -m tools.reference_models.export RUN/checkpoint.pt mini.gguf`."""

import argparse
from pathlib import Path
from typing import Final

import gguf
import torch
from tools.reference_models import tokenizer
from tools.reference_models.model import Model, Shape

BLOCK_NAMES: Final = {
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


def tensor_name(name: str) -> str:
    """llama.cpp's name of one of our weights; there is no output matrix, so the engine takes the embedding for it."""
    match name.split("."):
        case ["embedding", "weight"]:
            return "token_embd.weight"
        case ["norm", "weight"]:
            return "output_norm.weight"
        case ["blocks", index, part, "weight"]:
            return f"blk.{index}.{BLOCK_NAMES[part]}.weight"
    raise ValueError(f"no name for {name}")


def write(model: Model, path: Path) -> None:
    """Matrices as 16-bit floats, norms as 32-bit ones."""
    shape = model.shape
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Penstock mini")
    writer.add_author("The Penstock authors")
    writer.add_license("Apache-2.0")
    writer.add_description("A small test model: sums, topics of support messages, order numbers, greetings.")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
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
    writer.add_bos_token_id(tokenizer.CONTROL_IDS[tokenizer.BEGIN])
    writer.add_eos_token_id(tokenizer.CONTROL_IDS[tokenizer.END])
    writer.add_eot_token_id(tokenizer.CONTROL_IDS[tokenizer.END])
    writer.add_pad_token_id(tokenizer.CONTROL_IDS[tokenizer.END])
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_chat_template(tokenizer.CHAT_TEMPLATE)

    for name, weight in model.state_dict().items():
        writer.add_tensor(tensor_name(name), (weight.half() if weight.ndim == 2 else weight).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    """Read the checkpoint, write the file, print what it holds."""
    parser = argparse.ArgumentParser(prog="export", description="Write a checkpoint as GGUF.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("gguf", type=Path)
    args = parser.parse_args()
    state = torch.load(args.checkpoint)
    model = Model(Shape(**state["shape"]))
    model.load_state_dict(state["model"])
    partial = args.gguf.with_suffix(".new")
    write(model, partial)
    partial.replace(args.gguf)
    size = args.gguf.stat().st_size
    print(f"{args.gguf}: {model.parameters_total():,} parameters, {size:,} bytes, step {state['step']}")


if __name__ == "__main__":
    main()
