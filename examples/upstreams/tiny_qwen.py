"""A Qwen2 checkpoint small enough to build anywhere: the real architecture, two layers, weights drawn at random.

It is for showing and testing how a real one is loaded and served: it knows Qwen's way of writing a chat and speaks in
the words of this repository's documents, but without sense. Built twice it is the same.
"""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

DOCUMENTS = Path(__file__).resolve().parents[2] / "docs"
START, END, PADDING = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
VOCABULARY = 2000
LONGEST_CHAT = 4096
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def build(folder: Path) -> None:
    """Write a checkpoint into the folder, in the files that `from_pretrained` looks for."""
    tokenizer = _tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=LONGEST_CHAT,
        initializer_range=0.2,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids(END),
        pad_token_id=tokenizer.convert_tokens_to_ids(PADDING),
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)


def _tokenizer() -> PreTrainedTokenizerFast:
    """Return byte pairs as Qwen's are, learnt from the documents."""
    pairs = Tokenizer(models.BPE())
    pairs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pairs.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PADDING, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    pairs.train([str(path) for path in sorted(DOCUMENTS.glob("*.md"))], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=pairs, eos_token=END, pad_token=PADDING, chat_template=CHAT_TEMPLATE
    )
