"""The table of LoRA's variants, and what the rest of the library asks of a layer.

Files, merging, counting, the doctor and the X-ray know no variant by its name. They ask the layer, so a variant is one
file, in `lora_teach.layers`.
"""

VARIANTS = {}  # name -> {kind of module: class of layer}


def register_variant(name):
    """Class decorator: make a LoRALayer subclass available as ``LoRAConfig(variant=name)``.

    It stands beside modules of its ``kind``; one class for each kind may have the same name. What it trains, merges,
    saves and reads is asked of it: see `Asked`. Its ``forward(x)`` returns the update; one that also
    takes ``base_output`` says so by ``forward.takes_base_output = True``.
    """

    def register(layer_class):
        VARIANTS.setdefault(name, {})[layer_class.kind] = layer_class
        layer_class.variant = name
        return layer_class

    return register


class Asked:
    """Plain LoRA's answers, which LoRALayer has; a variant overrides what differs. ``layers/dora.py`` is an example."""

    kind = "Linear"  # of module that it stands beside
    variant, label = "lora", "LoRA"  # its name for LoRAConfig, given by register_variant, and in a report
    mixes = True  # whether it may be active beside others, or with a weight
    by_init = False  # whether it differs by its start, so that LoRAConfig(init=…) may name it too
    file_keys = {".lora_A.weight": "A", ".lora_B.weight": "B"}  # end of a key in PEFT's files -> the part it holds
    file_fields = {}  # what adapter_config.json says of it, beyond plain LoRA
    filed = ("lora_A", "lora_B")  # its own tensors that a file holds
    in_peft = True  # whether PEFT reads such a file rightly
    note = ""  # what an X-ray says below its table

    def attach(self, module):
        """Get to know the module that this layer stands beside; ValueError if it can't be that one."""

    def is_zero(self):
        """Tell whether the update is zero, as it is at the start."""
        return not (self.lora_A.any() and self.lora_B.any())

    def file_parts(self):
        """Return ``{part: tensor}`` in the file's orientation: A (rank, in_features), B (out_features, rank)."""
        A, B = self.factors()
        return {"A": A.T, "B": B.T}

    def read_parts(self, parts):
        """Take on what a file holds; ``parts`` are of the shapes of `file_parts`."""
        for name, place in self.file_parts().items():
            place.copy_(parts[name])

    @staticmethod
    def config_of_file(config):
        """Return the LoRAConfig of layers whose file says ``config``."""
        return config
