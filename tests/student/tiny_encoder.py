"""A tiny encoder built from a config: BERT, random weights, a byte tokenizer that knows pairs of texts."""

from distill.types import Message, Pair


def encoder_tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    specials = ["[PAD]", "[CLS]", "[SEP]"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE({token: index for index, token in enumerate(specials + alphabet)}, []))
    raw.add_special_tokens(specials)
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def save_encoder(folder, seed=0, **changes):
    """Write one into `folder`, random but always the same."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    config = {
        "vocab_size": 259,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "initializer_range": 0.2,
    }
    BertModel(BertConfig(**{**config, **changes})).save_pretrained(folder)
    encoder_tokenizer().save_pretrained(folder)
    return folder


def labelled(count):
    """Pairs of many lengths whose answer is the letter most of it is made of."""
    letters = {"a": "good", "b": "bad", "c": "so so"}
    return [
        Pair.make(
            (Message("system", "Rate it."), Message("user", "abc"[index % 3] * (3 + index * 5 % 17))),
            letters["abc"[index % 3]],
            "test",
        )
        for index in range(count)
    ]
