"""A SigLIP 2 tokenizer with a few hundred entries, learnt from the vocabulary of the drawn world.

It behaves as the one of the real checkpoints: lower-cases, marks spaces with U+2581, falls back to bytes, so that no
text is unknown; words outside the drawn world fall apart into letters.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from tokenizers import pre_tokenizers, trainers
from transformers import Siglip2Tokenizer

TEXT_LENGTH = 64
_CONTROL = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def train_tokenizer(phrases: Iterable[str], entries: int = 600) -> Siglip2Tokenizer:
    """Byte-pair encoding over whole words. Padding goes to the left, and no attention mask is handed out."""
    draft = Siglip2Tokenizer().backend_tokenizer
    # The normalizer has turned spaces into U+2581 before words are split: splitting on that keeps words apart, where the
    # tokenizer's own rule would join whole phrases into one entry.
    draft.pre_tokenizer = pre_tokenizers.Split("\u2581", "merged_with_next")
    trainer = trainers.BpeTrainer(
        vocab_size=entries, min_frequency=2, show_progress=False, special_tokens=[*_CONTROL, *_BYTES]
    )
    draft.train_from_iterator(phrases, trainer)
    learnt = json.loads(draft.to_str())["model"]
    merges = [tuple(pair) if isinstance(pair, list) else tuple(pair.split(" ")) for pair in learnt["merges"]]
    return Siglip2Tokenizer(
        vocab=learnt["vocab"], merges=merges, model_max_length=TEXT_LENGTH, model_input_names=["input_ids"]
    )
