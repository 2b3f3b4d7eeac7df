"""The same by bitsandbytes, whose code is compiled: for GPUs, and to compare ours with. An extra, installed apart."""

from lora_teach.bases.quantized.convert import layers_to_quantize
from lora_teach.utils.validation import check_choice


def quantize_with_bitsandbytes_(
    model, kind="nf4", target_modules=None, *, exclude_modules=(), block_size=64, double=True
):
    """Put bitsandbytes' layers in the place of linear layers of ``model``, and return it. Then lay a LoRAModel over it.

    Args:
        model: A base without an overlay; where its layers are, they are quantised.
        kind: "nf4" for ``Linear4bit``, or "int8" for ``Linear8bitLt`` (LLM.int8(), Dettmers et al. 2022, arXiv
            2208.07339), which has neither blocks nor double quantisation.
        target_modules: As `lora_teach.bases.quantized.quantize_` takes it, and so are the others.
        exclude_modules: Names to leave as they are.
        block_size: One of 32, 64, 128, … 4096.
        double: Whether the scales are quantised too.

    Raises:
        ImportError: bitsandbytes is not installed; the message has the command.
        TypeError, ValueError: As `quantize_`; and on a CPU a layer whose rows are no whole blocks, which bitsandbytes
            0.50 dequantises wrongly there. Nothing has changed then.
    """
    check_choice("kind", kind, ("nf4", "int8"))
    try:
        import bitsandbytes
    except ImportError as error:
        raise ImportError(f"bitsandbytes can't be imported ({error}): pip install 'bitsandbytes>=0.50,<0.51'") from None
    layers = layers_to_quantize(model, target_modules, exclude_modules)
    for name, linear in layers.items():
        if name == "":
            raise ValueError(
                "the model is itself the linear layer, so none can be put in its place. Wrap it in nn.Sequential."
            )
        if kind == "nf4" and linear.weight.device.type == "cpu" and linear.in_features % block_size:
            raise ValueError(
                f"{name}: its rows of {linear.in_features} are no whole blocks of {block_size}, and bitsandbytes' code "
                "for CPUs (0.50) gives other weights back there than it has stored. Use a block_size that divides "
                f"{linear.in_features}, such as 32, or quantize_(model)."
            )
    made = {}
    for linear in layers.values():
        sizes, options = (linear.in_features, linear.out_features, linear.bias is not None), {"device": "meta"}
        weight = linear.weight.detach().clone()
        if kind == "nf4":
            layer = bitsandbytes.nn.Linear4bit(*sizes, quant_type="nf4", compress_statistics=double, **options)
            packed = {"blocksize": block_size, "compress_statistics": double, "quant_type": "nf4", "module": layer}
            layer.weight = bitsandbytes.nn.Params4bit(weight, requires_grad=False, **packed)
        else:
            layer = bitsandbytes.nn.Linear8bitLt(*sizes, has_fp16_weights=False, **options)
            layer.weight = bitsandbytes.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
        layer.bias = linear.bias
        made[linear] = layer.to(linear.weight.device).train(linear.training)  # the move quantises
    for parent in list(model.modules()):
        for key, child in parent._modules.items():
            parent._modules[key] = made.get(child, child)
    return model
