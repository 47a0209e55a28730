"""Text to word pieces, as BERT's encoders were trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from botshard.bots.encoder_folder import read_vocabulary
from botshard.bots.encoder_spec import EncoderSpec

__all__ = ["WordPieces"]

_MOST_WORD_CHARS: Final = 100
_ENTRY_BYTES: Final = 300
"""Of one word in the tokenizer's tables, measured: 9 MiB for 30,000."""


class WordPieces:
    """Made of a list of words and two flags. What a client writes is text: `[SEP]` in it ends nothing."""

    def __init__(self, vocabulary: Path, spec: EncoderSpec, /) -> None:
        numbers = {word: number for number, word in enumerate(read_vocabulary(vocabulary))}
        self._tokenizer = Tokenizer(
            WordPiece(numbers, unk_token="[UNK]", max_input_chars_per_word=_MOST_WORD_CHARS)  # noqa: S106 - no secret
        )
        self._tokenizer.normalizer = BertNormalizer(lowercase=spec.lowercase)
        self._tokenizer.pre_tokenizer = BertPreTokenizer()
        self._tokenizer.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[(token, numbers[token]) for token in ("[CLS]", "[SEP]")]
        )
        self._tokenizer.enable_truncation(max_length=spec.most_tokens)
        self.padding: int = numbers["[PAD]"]
        """Number of the token that stands for none."""
        self.footprint_bytes = _ENTRY_BYTES * len(numbers)

    def __call__(self, text: str, /) -> list[int]:
        """Numbers of a text's tokens: from two, of an empty one, to the encoder's most."""
        # One text a call: of many at once the library would make threads, for less than the layers take.
        tokens: list[int] = self._tokenizer.encode(text).ids
        return tokens
