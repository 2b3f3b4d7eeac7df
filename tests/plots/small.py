"""Small results with the structure of data/race.json, cut_or_train.json and turn_it_down.json."""

STEPS = [0, 20, 40, 60]


def run(seed, validation, test):
    best = min(validation)
    return {
        "lr": 0.01, "seed": seed, "steps": STEPS, "validation": validation, "best_step": STEPS[validation.index(best)],
        "best_validation": best, "test": test,
    }  # fmt: skip


def contender(trainable, *runs):
    losses = [one["test"] for one in runs]
    return {"trainable": trainable, "lr": 0.01, "runs": list(runs), "test": sum(losses) / len(losses), "spread": 0.01}


RACE = {
    "command": "python data/make_race.py",
    "settings": {"seeds": [0, 1], "steps": {"Finnish": 60, "Icelandic": 60}},
    "results": {
        "Finnish": {
            "base": 3.0,
            "contenders": {
                "LoRA r=1": contender(10, run(0, [3.0, 2.4, 2.2, 2.1], 2.2), run(1, [3.0, 2.6, 2.2, 2.3], 2.4)),
                "full": contender(90, run(0, [3.0, 2.1, 2.3, 2.6], 2.2), run(1, [3.0, 2.1, 2.5, 2.8], 2.2)),
            },
        },
        "Icelandic": {
            "base": 4.0,
            "contenders": {
                "LoRA r=1": contender(10, run(0, [4.0, 3.4, 3.2, 3.1], 3.2), run(1, [4.0, 3.6, 3.2, 3.0], 3.1)),
                "full": contender(90, run(0, [4.0, 3.1, 3.0, 2.9], 2.9), run(1, [4.0, 3.1, 2.9, 2.8], 3.0)),
            },
        },
    },
}

LINES = {"weights cut": [3.9, 2.5, 2.0], "update cut": [2.3, 2.1, 2.0], "trained": [1.98, 1.96, 1.97]}
CUT_OR_TRAIN = {
    "command": "python data/make_cut_or_train.py",
    "settings": {"language": "Zulu", "ranks": [1, 8, 64], "seeds": [0, 1]},
    "results": {"base": 3.3, "full": 2.0, "lines": LINES, "by_seed": [LINES, LINES]},
}

TURN_IT_DOWN = {
    "command": "python data/make_turn_it_down.py",
    "settings": {"language": "Zulu", "strengths": [0.0, 0.5, 0.75, 1.0, 1.5], "seeds": [0, 1]},
    "results": {
        "LoRA r=4": {
            "paths": [
                [[3.3, 2.0], [2.2, 2.8], [2.1, 3.0], [2.0, 3.2], [2.3, 3.6]],
                [[3.3, 2.0], [2.2, 2.8], [2.0, 3.2], [1.9, 3.4], [2.3, 3.6]],
            ]
        },
        "full": {
            "paths": [
                [[3.3, 2.0], [2.4, 2.6], [2.1, 2.9], [1.9, 3.4], [2.1, 4.0]],
                [[3.3, 2.0], [2.4, 2.6], [2.1, 2.9], [1.9, 3.4], [2.1, 4.0]],
            ]
        },
    },
}
