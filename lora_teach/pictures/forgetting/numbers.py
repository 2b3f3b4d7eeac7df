"""Learning against forgetting: what a fine-tuning gains on a new language, and what it loses of English on the way.

Every contender is tuned as in the Race. A run keeps both losses along two paths: over training, step by step, and over
strengths, the finished update scaled from nothing to more than was trained. So contenders can be compared where they
have learned equally much (``equal_learning.py``). ``data/make_forgetting.py`` runs it in full; the
results lie in ``data/forgetting.json``.
"""

from lora_teach.bases import evaluate, load_name_gpt
from lora_teach.datasets import names
from lora_teach.measure.strength import strength_path
from lora_teach.measure.tuning import FULL, count_trainable, trainable_copy, tune
from lora_teach.utils.threads import one_thread

CONTENDERS = {  # what `trainable_copy` takes; alpha is the rank, as in the Race, so LoRA's factor is 1 and rsLoRA's √r
    "LoRA r=1": {"rank": 1},
    "LoRA r=4": {"rank": 4},
    "LoRA r=16": {"rank": 16},
    "LoRA r=64": {"rank": 64},
    "rsLoRA r=16": {"rank": 16, "scaling": "alpha/sqrt(r)"},
    "rsLoRA r=64": {"rank": 64, "scaling": "alpha/sqrt(r)"},
    "full": {"rank": FULL},
}
STRENGTHS = tuple(step / 8 for step in range(13))  # 0 to 1.5
LOOKS = (*range(0, 100, 10), *range(100, 200, 20), *range(200, 801, 100))  # steps at which both losses are taken


def forgetting_run(base, language, options, *, lr, seed=0, strengths=STRENGTHS, looks=LOOKS, **tuning):
    """Tune one contender and return what it learned and forgot, along two paths.

    ``options`` are those of `trainable_copy` without the seed; ``strengths`` are factors of the finished update, with 1
    among them; ``looks`` are steps at which both losses are taken, where a multiple of ``check_every``.

    Returns:
        ``lr`` and ``seed``; ``best_step`` and ``best_validation`` of the checkpoint; ``trainable``, how many numbers
        trained; ``loss``, ``[new language, English]`` at the checkpoint; ``strength``, such a pair for each of
        ``strengths``; ``steps``, where the run was looked at, and ``training``, a pair for each of these. All but
        the validation loss are on test names, in nats a letter.
    """
    if 1 not in strengths:
        raise ValueError(f"strengths={list(strengths)} has no 1, the update as it was trained. Put it in.")
    new, old = names.load(language).test, names.load("English").test
    steps, training = [], []

    def watch(step, model):
        if step in looks:
            steps.append(step)
            training.append([evaluate(model, new), evaluate(model, old)])

    model = trainable_copy(base, seed=seed, **options)
    run = tune(model, language, lr=lr, seed=seed, watch=watch, **tuning)
    path = [list(pair) for pair in strength_path(model, strengths, new, old, base)]
    return {
        "lr": lr,
        "seed": seed,
        "best_step": run.best_step,
        "best_validation": run.best_validation,
        "trainable": count_trainable(model),
        "loss": path[list(strengths).index(1)],
        "strength": path,
        "steps": steps,
        "training": training,
    }


def own_run(language="Zulu", rank=4, *, lr=1e-2, steps=120, seed=0, **options):
    """Train one contender of one's own, with the shipped NameGPT, and return its run; some seconds.

    Args:
        language: The language that is new to the base.
        rank: Rank of LoRA; None means full fine-tuning.
        lr: Learning rate of AdamW.
        steps: Updates; the checkpoint is the best of the looks at every 20th.
        seed: Decides LoRA's start and the batches.
        **options: LoRAConfig's, such as ``scaling="alpha/sqrt(r)"``.

    Returns:
        What `forgetting_run` returns, with ``language``.
    """
    looks = range(0, steps + 1, max(20, steps // 80 * 20))  # at most five or so: English is long
    with one_thread():
        run = forgetting_run(
            load_name_gpt(), language, {"rank": rank} | options, lr=lr, seed=seed, steps=steps, looks=looks
        )
    return {"language": language} | run
