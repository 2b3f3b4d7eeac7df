"""Generation, greedy or by fair draws, whatever a model's own generation config would rather do."""

from contextlib import contextmanager


@contextmanager
def generating_greedily(model, tokenizer, max_new_tokens, pad):
    """Within the block ``model.generate`` takes the likeliest token, and ends at any of the model's end marks.

    Everything else in its generation config, such as beams, penalties and sampling, is set aside, and afterwards put
    back. Yields ``cut(new token ids) -> text``, which leaves out the end mark and what follows.
    """
    with generating(model, tokenizer, max_new_tokens, pad, do_sample=False) as (cut, _):
        yield cut


@contextmanager
def generating(model, tokenizer, max_new_tokens, pad, **how):
    """Within the block ``model.generate`` does as ``how`` says, and ends at any of the model's end marks.

    The rest is as for `generating_greedily`. Yields its ``cut``, and the list of the end marks' token ids.
    """
    from transformers import GenerationConfig

    # In a wrapper such as PEFT's, generate reads the config of the model inside.
    model = next((module for module in model.modules() if "generation_config" in vars(module)), model)
    found = model.generation_config
    stops = found.stop_strings or ()
    stops = [stops] if isinstance(stops, str) else list(stops)
    of_model = found.eos_token_id
    ends = {tokenizer.eos_token_id, *(of_model if isinstance(of_model, list | tuple) else [of_model])}
    tokens = [tokenizer(stop, add_special_tokens=False)["input_ids"] for stop in stops]
    ends |= {ids[0] for ids in tokens if len(ids) == 1 and ids[0] != tokenizer.unk_token_id}  # no need to write on
    ends = sorted(ends - {None})

    def cut(row):
        end = next((place for place, token in enumerate(row) if token in ends), len(row))
        text = tokenizer.decode(row[:end], skip_special_tokens=True)
        return text[: min([text.find(stop) for stop in stops if stop in text], default=len(text))]

    model.generation_config = GenerationConfig(
        max_new_tokens=max_new_tokens, pad_token_id=pad, eos_token_id=ends or None, bos_token_id=found.bos_token_id,
        decoder_start_token_id=found.decoder_start_token_id, **how,
    )  # fmt: skip
    try:
        yield cut, ends
    finally:
        model.generation_config = found
