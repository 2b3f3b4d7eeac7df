"""What the literature says of LoRA and rewards, held against ``data/rewards.json`` by the rule of notebook 11."""

from typing import Any

from lora_teach.measure.results import load_result
from lora_teach.measure.rewarding import LANGUAGE
from lora_teach.pictures.equal_kl.numbers import NO_PENALTY, PENALTY, at_level, share_of_full
from lora_teach.pictures.forgetting.paper_claims import OURS, Claim, verdict

SCHULMAN, SHENFELD = "Schulman 2025", "Shenfeld 2025"
ENOUGH = 0.9  # of full fine-tuning's gain
KL = 4.0  # nats a name, at which ranks are compared
SUCCESSES = (0.3, 0.6)  # at which learning from a reward and from names are compared
LITTLE = 0.1  # nats a letter


def reward_claims(result: dict[str, Any] | None = None) -> list[Claim]:
    """Return the claims with their verdicts.

    Args:
        result: What ``load_result("rewards")`` gives; None loads it.
    """
    results = (result or load_result("rewards"))["results"]
    contenders, base = results["contenders"], results["base"]
    free = {name: entry["runs"][NO_PENALTY] for name, entry in contenders.items()}
    held = {name: entry["runs"][PENALTY] for name, entry in contenders.items()}
    rates = {name: entry["lr"] for name, entry in contenders.items()}
    rows = [
        (
            f"{name} gains at least {ENOUGH:.0%} of full's success, {KL:g} nats of KL from the base",
            SCHULMAN,
            share_of_full(results, name, KL),
            [ENOUGH],
        )
        for name in ("LoRA r=1", "LoRA r=8")
    ]
    rows += [
        (f"{name}'s best rate is at least 5 times full's", SCHULMAN, [rates[name] / rates["full"]], [5])
        for name in ("LoRA r=1", "LoRA r=8")
    ]
    for name, supervised in results["supervised"].items():
        for success in SUCCESSES:
            for what, word in (("English", "cost more English"), ("kl", "lead further from the base")):
                rows.append(
                    (
                        f"{name}: real names {word} than a reward, at a success of {success:.0%}",
                        SHENFELD,
                        at_level(supervised, "success", success, what),
                        at_level(held[name], "success", success, what),
                    )
                )
    rows += [
        (
            f"{name}: at a success of {max(SUCCESSES):.0%} the base's English plus {LITTLE:g} nats is above its own",
            SHENFELD,
            [base["English"] + LITTLE],
            at_level(held[name], "success", max(SUCCESSES), "English"),
        )
        for name in free
    ]
    rows += [
        (
            f"{name}, {how}: the reward teaches {LANGUAGE}: the base's loss on real names is above its own",
            OURS,
            [base["language"]],
            [run["language"][-1] for run in runs[name]],
        )
        for how, runs in (("no penalty", free), ("penalty", held))
        for name in free
    ]
    rows += [
        (
            f"{name}: with the penalty more names are different at the end",
            OURS,
            [run["distinct"][-1] for run in held[name]],
            [run["distinct"][-1] for run in free[name]],
        )
        for name in free
    ]
    return [Claim(text, source, LANGUAGE, tuple(a), tuple(b), verdict(a, b)) for text, source, a, b in rows if a and b]
