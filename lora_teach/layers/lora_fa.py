"""LoRA-FA: A stays as it was drawn, and B alone learns."""

from lora_teach.layer import LoRALayer, register_variant


@register_variant("lora_fa")
class LoRAFALayer(LoRALayer):
    """A low-rank update whose A is frozen: Zhang et al. 2023 (arXiv 2308.03303), section 3.

    B's gradient needs ``x A``, r numbers for each token, and not the layer's whole input: so less is kept for the
    backward pass. A file holds both factors, as plain LoRA's does, and read here A is frozen again.

    Args:
        in_features, out_features, rank, alpha: As for LoRALayer, and so are the options.

    Raises:
        ValueError: ``init="uniform_B"``: A would stay zero, and B without a gradient.
    """

    label = "LoRA-FA"

    def __init__(self, *sizes, init="uniform", **options):
        if init == "uniform_B":
            raise ValueError(
                "init='uniform_B' starts A at zero, where LoRA-FA keeps it: nothing would train. Use 'uniform'."
            )
        super().__init__(*sizes, init=init, **options)
        self.lora_A.requires_grad_(False)
