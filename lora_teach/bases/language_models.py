"""Any causal language model that transformers can load, with its tokenizer."""

from contextlib import contextmanager
from pathlib import Path

from lora_teach.utils.reading import refuse_lfs_pointer

import torch


def load_language_model(source, gguf_file=None):
    """Return ``(model, tokenizer)``: a float32 model in eval mode, and what turns text into its tokens.

    Args:
        source: A folder in Hugging Face's layout, or an id on their hub such as ``"HuggingFaceTB/SmolLM2-360M"``.
        gguf_file: Name of a GGUF file in that folder, to be read in the place of the usual ones; its weights are
            unpacked from their few bits, so that the model is as plain as any other.

    Raises:
        OSError: Neither a folder nor an id that can be reached; the message is transformers'.
        ValueError: A folder without a model, files that are damaged or don't belong together, or a model that needs
            code of its own, which is never run: whoever has put it there could do anything.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not str(source).strip():
        raise ValueError("the base has an empty name. Give a folder or an id on the Hugging Face hub.")
    folder = Path(source)
    if folder.is_dir():
        if gguf_file is None and not (folder / "config.json").is_file():
            raise ValueError(f"{source} is a folder without a config.json. Give one that save_pretrained has written.")
        for file in folder.iterdir():
            if file.is_file():
                refuse_lfs_pointer(file)
    elif folder.exists():
        raise ValueError(f"{source} is a file. Give the folder that save_pretrained has written, or an id on the hub.")
    options = {"trust_remote_code": False} | ({} if gguf_file is None else {"gguf_file": gguf_file})
    try:
        with without_bars():
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
            model, told = AutoModelForCausalLM.from_pretrained(
                source, dtype=torch.float32, output_loading_info=True, **options
            )
    except Exception as error:  # of each library below: a truncated file, a missing package, sizes that don't fit
        if "trust_remote_code" in str(error):
            why = "it needs code of its own, which is never run here (trust_remote_code=False). Use another model."
        elif isinstance(error, OSError):
            raise
        else:
            why = f"{type(error).__name__}: {error}"
        raise ValueError(f"{source} can't be loaded as a language model: {why}") from error
    if told["missing_keys"]:
        raise ValueError(
            f"{source} has no weights for {len(told['missing_keys'])} parameters of a {type(model).__name__}, such as "
            f"{min(told['missing_keys'])!r}, which would be random numbers. Give a whole language model."
        )
    if gguf_file is not None:  # transformers remembers where the weights came from, and would refuse to save them
        model.hf_quantizer = None
        model.is_quantized = False
        del model.config.quantization_config
        # Some releases of transformers, 5.17 for one, take the start mark for it: answers would learn the wrong end.
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(model.config.eos_token_id)
    return model.eval(), tokenizer


@contextmanager
def without_bars():
    """Within the block transformers draws no progress bars; its warnings stay."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
