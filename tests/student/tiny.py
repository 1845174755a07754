"""Tiny students built from a config: real architecture, random weights, a byte tokenizer."""

from distill.types import Message, Pair

CHATML = (
    "{% for m in messages %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SYSTEM = "Say if it is good or bad."


def byte_tokenizer(template=CHATML, *, pad=None, eos="<|endoftext|>"):
    """Every byte a token; `<|im_end|>` ends a turn; no pad token unless asked for."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    raw = Tokenizer(models.BPE({token: index for index, token in enumerate(specials + alphabet)}, []))
    raw.add_special_tokens(specials)
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token=eos, pad_token=pad)
    tokenizer.chat_template = template
    return tokenizer


def tiny_model(vocab=259, **changes):
    """A Llama of two layers, random but always the same."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = {
        "vocab_size": vocab,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "bos_token_id": None,
        "eos_token_id": 0,
        "initializer_range": 0.2,
        "tie_word_embeddings": True,
    }
    return LlamaForCausalLM(LlamaConfig(**{**config, **changes})).eval()


def pair(text, answer, *, system=SYSTEM):
    return Pair.make((Message("system", system), Message("user", text)), answer, "test")


def few_pairs(count):
    """`count` pairs of many lengths, learnable from one letter."""
    return [
        pair("x" * (1 + index * 7 % 23) + "ab"[index % 2], ("good", "bad")[index % 2])
        for index in range(count)
    ]
