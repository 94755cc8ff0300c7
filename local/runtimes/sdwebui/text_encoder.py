"""Writes tokenizer and configuration of the text encoder of SD 1 and SDXL where SD Web UI looks first.

Otherwise it asks Hugging Face for them when it loads a model: https://huggingface.co/openai/clip-vit-large-patch14.
The vocabulary is the one that OpenAI's CLIP package carries. Run in SD Web UI's folder.
"""

# ruff: noqa: INP001 - no part of the project: it runs once, while the image is built, on the image's packages
# mypy: ignore-errors
from __future__ import annotations

import json
from pathlib import Path

from clip.simple_tokenizer import SimpleTokenizer
from transformers import CLIPTextConfig, CLIPTokenizer

folder = Path("openai/clip-vit-large-patch14")
folder.mkdir(parents=True)
tokenizer = SimpleTokenizer()
(folder / "vocab.json").write_text(json.dumps(tokenizer.encoder, ensure_ascii=False), encoding="utf-8")
merges = [" ".join(pair) for pair in tokenizer.bpe_ranks]
(folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
files = (str(folder / "vocab.json"), str(folder / "merges.txt"))
CLIPTokenizer(*files, pad_token="<|endoftext|>", model_max_length=77).save_pretrained(folder)  # noqa: S106
# The class's own defaults are those of the smaller clip-vit-base-patch32.
CLIPTextConfig(
    hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, projection_dim=768
).save_pretrained(folder)

read = CLIPTokenizer.from_pretrained(str(folder))
if read("a photo of a cat").input_ids != [49406, 320, 1125, 539, 320, 2368, 49407]:
    raise SystemExit("the tokenizer that was written is not CLIP's")
