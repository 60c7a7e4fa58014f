"""A pretrained speech encoder as small as can be, with random weights, in the files of a real one."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

# A kernel of 10, since on AMX oneDNN 3.12 (torch 2.13) gets bf16 kernels of 12 and more wrong where a group has 8
# channels; real encoders have 48 and more, which it gets right.
TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
        "conv_dim": (8,) * 7, "num_conv_pos_embeddings": 10, "num_conv_pos_embedding_groups": 2}


def save_encoder(folder: Path, seed: int = 0, layers: int = 2) -> Path:
    """Save a HuBERT of layers of 16 numbers, with its preprocessor_config.json, in a folder; return it."""
    torch.manual_seed(seed)
    HubertModel(HubertConfig(**{**TINY, "num_hidden_layers": layers})).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder
