"""``train``: an adapter from a JSONL file, the best one of the run if examples are held out."""

import json
import random
import tempfile
from pathlib import Path

from lora_teach.cli.common import BadInput, about, digest, in_words, load, print_result, say
from lora_teach.cli.summary import SUMMARY, summary_of
from lora_teach.loop.distributed import join
from lora_teach.loop.schedules import schedule_for
from lora_teach.loop.validation import mean_loss
from lora_teach.peft_format.folder import CONFIG_FILE, WEIGHTS_FILE
from lora_teach.utils import processes
from lora_teach.utils.atomic_write import replace_file
from lora_teach.utils.outputs import check_new_folder

FEW_LENGTHS = 64  # with --capture, batches are filled up to a multiple of so many tokens


def train(options):
    """Train an adapter on a JSONL file and save it in PEFT's format, with a summary of the run beside it."""
    history = run(options)
    if processes.is_writer():
        print_result(str(options.out))
    if history.stopped:
        kept = "last step" if history.best is None else f"step of the lowest validation loss, {history.best}"
        say(f"lora_teach train: {history.stopped}; the adapter is that of the {kept}")
        return 130


def run(options):
    """Do the work of ``train`` and return the History; under torchrun, with the other processes."""
    from lora_teach import LoRAModel
    from lora_teach import train as train_loop

    processes.join(even_one=options.shard)
    processes.on_writer(lambda: check_places(options))
    schedule = schedule_for(options.schedule, options.steps, options.warmup)
    base = load(options.base, options.quantize)
    examples, held_out = _examples(base, options)

    def batches_of(chosen, what):
        longest, multiple = options.max_length, FEW_LENGTHS if options.capture else 1
        made = base.batches(chosen, options.batch_size, options.seed, longest, longest is not None, multiple)
        _say_what_was_cut(made, chosen, what, longest)
        return made

    batches = batches_of(examples, "examples")
    validation = batches_of(held_out, "held-out examples") if held_out else None
    import torch

    if not options.shard:
        base.model.to(options.device)
    torch.manual_seed(options.seed)  # of the adapter's start
    model = LoRAModel(
        base.model, rank=options.rank, alpha=options.alpha, dropout=options.dropout, target_modules=options.targets
    )
    trainable, total = model.count()
    apart = f" and {len(held_out)} held out" if held_out else ""
    layers = len(model.lora_layers)
    say(f"{len(examples)} examples{apart}; {trainable:,} of {total:,} parameters train, in {layers} layers")
    shard = options.shard and options.device
    join(model, shard)  # already here, for the look before the first step
    before = mean_loss(model, validation, base.loss_fn) if held_out else None
    history = train_loop(
        model, batches, base.loss_fn, lr=options.lr, steps=options.steps, checkpoint=options.checkpoint,
        seed=options.seed, schedule=schedule, accumulate=options.accumulate, validation=validation,
        shard=shard, capture=options.capture,
    )  # fmt: skip
    if not len(history):
        raise KeyboardInterrupt
    told = summary_of(options, base, model, history, batches, (len(examples), len(held_out)), before)
    _save(model, options.out, told)
    recent = history.loss[-10:]
    say(f"loss {history.loss[0]:.3f} at the first step, {sum(recent) / len(recent):.3f} over the last {len(recent)}")
    if history.best is not None:
        _say_which_is_kept(history, before)
    return history


def check_places(options):
    """Raise BadInput if what the run makes can't be written, or lies over what it reads."""
    read = [options.base, options.data, *([options.validation] if isinstance(options.validation, Path) else [])]
    with about("--out", options.out):
        check_new_folder(options.out, (CONFIG_FILE, WEIGHTS_FILE, SUMMARY), options.overwrite, read)
    if options.checkpoint is not None:
        with about("--checkpoint", options.checkpoint):
            check_new_folder(options.checkpoint, ["checkpoint.pt"], overwrite=True, inputs=[*read, options.out])


def _examples(base, options):
    """Return ``(examples to learn, examples held out)``, as ``--validation`` asks."""
    examples, wanted = base.read(options.data), options.validation
    if wanted is None:
        return examples, []
    if isinstance(wanted, Path):
        with about("--validation", wanted):
            held_out = base.read(wanted)
        if wanted.samefile(options.data):
            raise BadInput(f"--validation {wanted} is --data itself, which is learnt. Hold other examples out.")
    else:
        count = max(1, round(wanted * len(examples)))
        if count >= len(examples):
            raise BadInput(f"--validation {wanted:g}: of {len(examples)} examples none is left to learn. Give more.")
        chosen = set(random.Random(options.seed).sample(range(len(examples)), count))
        held_out = [example for place, example in enumerate(examples) if place in chosen]
        examples = [example for place, example in enumerate(examples) if place not in chosen]
    learnt = {repr(example) for example in examples}
    twice = sum(repr(example) in learnt for example in held_out)
    if twice:
        say(f"of {len(held_out)} held-out examples {twice} are learnt too, so the validation loss tells too little")
    return examples, held_out


def _say_what_was_cut(batches, examples, what, longest):
    cut, left_out = getattr(batches, "shortened", ()), getattr(batches, "left_out", ())
    if not cut:
        return
    where, most = max(cut, key=lambda one: one[1])
    say(f"--max-length {longest} cut {len(cut)} of {len(examples)} {what}, the longest from {most} tokens ({where})")
    if left_out:
        say(f"{len(left_out)} of them are left out, since nothing of their answers is left: {', '.join(left_out[:3])}")


def _say_which_is_kept(history, before):
    lowest, looks = min(loss for _, loss in history.validation), len(history.validation)
    say(f"validation loss {before:.3f} before, {lowest:.3f} after step {history.best}: kept, as the lowest of {looks}")
    if lowest >= before:
        say("on what was held out the adapter is no better than the base alone: try a lower --lr, and look at the data")


def _save(model, folder, told):
    """Save the adapter and the summary, or if that fails, where it can be: a training's result is never lost."""

    def write(place):
        model.save_adapter(place)
        if not processes.is_writer():
            return
        whole = {"adapter_sha256": digest(Path(place) / WEIGHTS_FILE)} | told
        text = json.dumps(whole, indent=1, ensure_ascii=False) + "\n"
        replace_file(Path(place) / SUMMARY, lambda file: file.write_text(text, encoding="utf-8"))

    try:
        write(folder)
    except Exception as error:
        rescue = tempfile.mkdtemp(prefix="lora_teach-")
        write(rescue)
        raise BadInput(f"--out {folder} can't be written ({in_words(error)}). The adapter is in {rescue}") from error
