"""``generate`` and ``eval``: a prompt's answer, or those of a file, and how good they are."""

import json
import math
import time

from lora_teach.cli.common import BadInput, about, digest, files_of, load, print_result, say
from lora_teach.loop.validation import losses
from lora_teach.measure.intervals import mean_interval, share_interval
from lora_teach.utils.atomic_write import replace_file
from lora_teach.utils.outputs import check_new_file

from tqdm.auto import tqdm


def evaluate(options):
    """Print one line of JSON: how many answers to a file are exactly right, and the loss, each with its interval."""
    began = time.perf_counter()
    base = load(options.base, options.quantize)
    examples, asked = base.read(options.data), base.read(options.data, completions=False)
    alone = base.batches(examples, 1, seed=0)  # one example each, since the interval is over examples
    base.model.to(options.device)
    model = _adapted(base, options)
    answers = base.answer(model, asked, options.max_new_tokens, progress=True)
    right = sum(
        answer.strip() == base.completion_of(example).strip() for answer, example in zip(answers, examples, strict=True)
    )
    bar = tqdm(alone, total=len(examples), desc="measuring", unit="example")
    loss, low, high = mean_interval(*zip(*losses(model, bar, base.loss_fn), strict=True))
    graded = {
        "base": options.base, "adapter": None if options.adapter is None else str(options.adapter),
        "data": str(options.data), "data_sha256": digest(options.data), "examples": len(examples),
        "exact_match": right / len(examples), "exact_match_95": share_interval(right, len(examples)),
        "loss": loss, "loss_95": None if math.isinf(low) else (low, high),
        "seconds": round(time.perf_counter() - began, 1),
    }  # fmt: skip
    print_result(json.dumps(graded, ensure_ascii=False), json.dumps(graded))


def generate(options):
    """Answer a prompt, or every line of a file, with the base alone or with an adapter over it."""
    if (options.prompt is None) == (options.data is None):
        raise BadInput("give either a PROMPT or --data FILE.jsonl")
    if options.out is not None and options.data is None:
        raise BadInput("--out takes the answers to --data; the answer to a PROMPT is printed.")
    if options.out is not None:
        read = [options.data, *files_of(options.adapter), *files_of(options.base)]
        with about("--out", options.out):
            options.out = check_new_file(options.out, options.overwrite, read)
    base = load(options.base, options.quantize)
    examples = [base.asked(options.prompt)] if options.data is None else base.read(options.data, completions=False)
    base.model.to(options.device)
    model = _adapted(base, options)
    answers = base.answer(model, examples, options.max_new_tokens, progress=options.prompt is None)
    if options.data is None:
        print_result(answers[0])
        return
    pairs = [
        {"prompt": base.prompt_of(example), "completion": answer}
        for example, answer in zip(examples, answers, strict=True)
    ]
    lines, plain = ("\n".join(json.dumps(pair, ensure_ascii=ascii) for pair in pairs) for ascii in (False, True))
    if options.out is None:
        print_result(lines, plain)
        return
    try:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        replace_file(options.out, lambda path: path.write_text(f"{lines}\n", encoding="utf-8"))
    except OSError as error:  # the work of minutes is not lost with it
        print_result(lines, plain)
        raise BadInput(f"--out {options.out} can't be written ({error}). The answers are printed instead") from error
    say(f"{len(pairs)} answers in {options.out}")


def _adapted(base, options):
    """Return the base's model, with the adapter over it that the options name."""
    from lora_teach import LoRAModel

    if options.adapter is None:
        return base.model
    with about("--adapter", options.adapter):
        return LoRAModel.from_pretrained(base.model, options.adapter)
