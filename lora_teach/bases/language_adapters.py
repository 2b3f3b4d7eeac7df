"""The trained adapters that the repository ships: one for each language but English, in PEFT's format."""

from lora_teach.datasets import names
from lora_teach.datasets.shipped import shipped_file
from lora_teach.model import LoRAModel


def load_language_adapter(model, language, adapter_name=None):
    """Load the shipped adapter that turns English names into those of ``language``.

    Args:
        model: The NameGPT from ``load_name_gpt``: the adapter is laid over it and is active. Or a LoRAModel around one:
            the adapter is added to it, inactive until ``set_adapter`` chooses it.
        language: One of ``names.languages()`` but English.
        adapter_name: What the model calls the adapter; None means the language's own name, such as "Finnish".

    Returns:
        The LoRAModel.

    Raises:
        ValueError: A language without an adapter; the message lists those that have one.
        FileNotFoundError: The adapter's folder is missing; the message gives the command that makes it.
    """
    adapted = names.languages()[1:]
    if language not in adapted:
        raise ValueError(f"language={language!r} has no shipped adapter. Use one of {', '.join(adapted)}.")
    command = "python data/make_adapters.py"
    folder = shipped_file(f"adapters/{language.lower()}/adapter_model.safetensors", command).parent
    adapter_name = language if adapter_name is None else adapter_name
    if not isinstance(model, LoRAModel):
        return LoRAModel.from_pretrained(model, folder, adapter_name)
    model.load_adapter(folder, adapter_name)
    return model
