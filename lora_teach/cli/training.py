"""``train``: an adapter from a JSONL file."""

import tempfile

from lora_teach.cli.common import BadInput, about, in_words, load, say
from lora_teach.peft_format.folder import CONFIG_FILE, WEIGHTS_FILE
from lora_teach.utils.outputs import check_new_folder


def train(options):
    """Train an adapter on a JSONL file and save it in PEFT's format."""
    from lora_teach import LoRAModel
    from lora_teach import train as train_loop

    with about("--out", options.out):
        check_new_folder(options.out, (CONFIG_FILE, WEIGHTS_FILE), options.overwrite, [options.base])
    if options.checkpoint is not None:
        with about("--checkpoint", options.checkpoint):
            check_new_folder(options.checkpoint, ["checkpoint.pt"], overwrite=True, inputs=[options.base, options.out])
    base = load(options.base)
    examples = base.read(options.data)
    batches = base.batches(examples, options.batch_size, options.seed, options.max_length)
    import torch

    base.model.to(options.device)
    torch.manual_seed(options.seed)  # of the adapter's start
    model = LoRAModel(
        base.model, rank=options.rank, alpha=options.alpha, dropout=options.dropout, target_modules=options.targets
    )
    trainable, total = model.count()
    say(f"{len(examples)} examples; {trainable:,} of {total:,} parameters train, in {len(model.lora_layers)} layers")
    history = train_loop(
        model, batches, base.loss_fn, lr=options.lr, steps=options.steps, checkpoint=options.checkpoint,
        seed=options.seed,
    )  # fmt: skip
    if not len(history):
        raise KeyboardInterrupt
    _save(model, options.out)
    recent = history.loss[-10:]
    say(f"loss {history.loss[0]:.3f} at the first step, {sum(recent) / len(recent):.3f} over the last {len(recent)}")
    print(options.out)
    if history.stopped:
        say(f"lora_teach train: {history.stopped}; the adapter is that of the last step")
        return 130


def _save(model, folder):
    """Save the adapter, or if that fails, where it can be: a training's result is never lost."""
    try:
        model.save_adapter(folder)
    except Exception as error:
        rescue = tempfile.mkdtemp(prefix="lora_teach-")
        model.save_adapter(rescue)
        raise BadInput(f"--out {folder} can't be written ({in_words(error)}). The adapter is in {rescue}") from error
