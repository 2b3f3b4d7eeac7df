"""Let SmolLM2 learn from a reward that a program can verify: is the answer JSON, with exactly the keys asked for?

    python data/make_json_reward.py [--out data/json_reward.json]     needs SmolLM2; about 40 minutes of processor time

A LoRA of rank 1 learns by GRPO: at each update two sentences of notebook 07, six answers each. An answer scores 1 if it
is valid JSON with the keys who, where and when and no others, 0.3 if it is another JSON object, and 0 else. What stands
behind the keys is not looked at; afterwards it is counted, on sentences that were not trained on.
"""

import argparse
import json
import time
from pathlib import Path

from lora_teach import LoRAModel, training_steps
from lora_teach.bases.episodes import CompletionWriter
from lora_teach.bases.smollm2 import load_smollm2
from lora_teach.datasets import appointments, chats
from lora_teach.loop.rewards import Rollouts
from lora_teach.measure.results import write_result
from lora_teach.utils.evaluating import evaluating

import torch

SETTINGS = {
    "rank": 1,
    "lr": 1e-3,
    "kl": 0.02,
    "updates": 30,
    "prompts": 2,
    "answers": 6,
    "max_new_tokens": 40,
    "seeds": [0],
}
ASKED = "Answer with a JSON object that has the keys who, where and when, and nothing else.\n"
PARTLY = 0.3


def score(answer):
    """Return 1 for JSON with exactly the keys, PARTLY for another JSON object, 0 else."""
    try:
        found = json.loads(answer)
    except (json.JSONDecodeError, RecursionError):
        return 0.0
    return float(set(found) == set(appointments.KEYS)) or PARTLY if isinstance(found, dict) else 0.0


def encoder(tokenizer):
    """Return what turns a sentence into the token ids of the question."""
    return lambda sentence: chats.prompt_ids([{"role": "user", "content": ASKED + sentence}], tokenizer)


def sat(model, tokenizer, exam, settings):
    """Return how many answers of the exam, one fair draw each, have the keys, and how many of each value are right."""
    write = CompletionWriter(
        tokenizer, [one.sentence for one in exam], encoder(tokenizer), size=1, max_new_tokens=settings["max_new_tokens"]
    )
    with evaluating(model), torch.random.fork_rng():
        torch.manual_seed(settings["seeds"][0])
        answers = write(model).texts
    marks = [appointments.grade(one, answer) for one, answer in zip(exam, answers, strict=True)]
    counts = {key: sum(mark[key] for mark in marks) for key in ("valid", *appointments.KEYS)}
    return counts | {"of": len(exam), "answers": answers}


def run(settings, model=None, tokenizer=None, exam=None, say=print):
    """Train, and return the exam before and after, the scores of each update, and the seconds of the processor."""
    if model is None:
        model, tokenizer = load_smollm2()
    exam = exam or appointments.exam(12)
    torch.manual_seed(settings["seeds"][0])
    model = LoRAModel(model, rank=settings["rank"])
    sentences = [one.sentence for one in appointments.training(200)]
    write = CompletionWriter(
        tokenizer, sentences, encoder(tokenizer), size=settings["answers"], at_once=settings["prompts"],
        max_new_tokens=settings["max_new_tokens"],
    )  # fmt: skip
    rollouts = Rollouts(
        model, write, lambda answer, sentence: score(answer), kl=settings["kl"], form="grpo", seed=settings["seeds"][0]
    )
    before, start = sat(model, tokenizer, exam, settings), time.process_time()
    say(f"before: {before}")
    for step in training_steps(model, rollouts, rollouts.loss, lr=settings["lr"], steps=settings["updates"]):
        last = rollouts.history[-1]
        say(f"update {step.index}: score {last.reward:.2f}, KL {last.kl:.2f} nats; {rollouts.last.texts[0]!r}")
    spent = round(time.process_time() - start)
    after = sat(model, tokenizer, exam, settings)
    say(f"after: {after}")
    scores = [[one.reward, one.kl] for one in rollouts.history]
    return {"before": before, "after": after, "scores": scores, "cpu_seconds": spent, "trainable": model.count()[0]}


def main():
    """Run it and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("json_reward.json"))
    parser.add_argument("--updates", type=int, default=SETTINGS["updates"])
    options = parser.parse_args()
    settings = SETTINGS | {"updates": options.updates}
    results = run(settings, say=lambda line: print(line, flush=True))
    write_result(
        options.out, "json_reward", settings, results, results["cpu_seconds"], unit="score of an answer", flat=True
    )


if __name__ == "__main__":
    main()
