"""``generate``: a prompt's answer, or those of a file."""

import json
from pathlib import Path

from lora_teach.cli.common import BadInput, about, load, print_result, say
from lora_teach.utils.atomic_write import replace_file
from lora_teach.utils.outputs import check_new_file


def generate(options):
    """Answer a prompt, or every line of a file, with the base alone or with an adapter over it."""
    from lora_teach import LoRAModel

    if (options.prompt is None) == (options.data is None):
        raise BadInput("give either a PROMPT or --data FILE.jsonl")
    if options.out is not None and options.data is None:
        raise BadInput("--out takes the answers to --data; the answer to a PROMPT is printed.")
    if options.out is not None:
        read = [options.data, *_files(options.adapter), *_files(options.base)]
        with about("--out", options.out):
            options.out = check_new_file(options.out, options.overwrite, read)
    base = load(options.base)
    examples = [base.asked(options.prompt)] if options.data is None else base.read(options.data, completions=False)
    base.model.to(options.device)
    model = base.model
    if options.adapter is not None:
        with about("--adapter", options.adapter):
            model = LoRAModel.from_pretrained(base.model, options.adapter)
    answers = base.answer(model, examples, options.max_new_tokens)
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
    options.out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(options.out, lambda path: path.write_text(f"{lines}\n", encoding="utf-8"))
    say(f"{len(pairs)} answers in {options.out}")


def _files(folder):
    """List the files of a folder that is given as an option, if it is one."""
    return list(Path(folder).iterdir()) if folder is not None and Path(folder).is_dir() else []
