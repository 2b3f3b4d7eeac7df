"""Small results with the structure of data/race.json, cut_or_train.json, turn_it_down.json and forgetting.json."""

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


def forgetting_run(seed, shift, end, lr=0.01):
    """One run: English lies ``shift`` above a straight line from the base, on both paths, except at the base itself."""
    line = [[3.0, 2.0], *([new, 2.0 + (3.0 - new) + shift] for new in (2.5, 2.2, end))]
    up = [line[0], line[1], line[3], [end + 0.1, 5.0]]
    return {
        "lr": lr, "seed": seed, "best_step": 30, "best_validation": end, "trainable": 10, "loss": line[3],
        "strength": up, "steps": [0, 10, 20, 30], "training": line,
    }  # fmt: skip


FORGETTING = {
    "command": "python data/make_forgetting.py",
    "settings": {"strengths": [0.0, 0.5, 1.0, 1.5], "seeds": [0, 1]},
    "results": {
        "Zulu": {
            "base": [3.0, 2.0],
            "lr": {"LoRA r=1": 0.01, "LoRA r=4": 0.01, "rsLoRA r=16": 0.003, "full": 0.001},
            "runs": {
                "LoRA r=1": [forgetting_run(0, 0.40, 2.1), forgetting_run(1, 0.50, 2.0)],  # forgets more than full
                "LoRA r=4": [forgetting_run(0, 0.10, 1.9), forgetting_run(1, 0.30, 1.8)],  # overlaps with full
                "rsLoRA r=16": [
                    forgetting_run(0, -0.30, 1.9, 0.003), forgetting_run(1, -0.20, 1.85, 0.003),  # forgets less
                    forgetting_run(0, 9.0, 2.0, 0.03),  # a learning rate that was not chosen
                ],
                "full": [forgetting_run(0, 0.00, 1.7, 0.001), forgetting_run(1, 0.20, 1.6, 0.001)],
            },
        },
        "Icelandic": {
            "base": [3.0, 2.0],
            "lr": {"LoRA r=1": 0.01, "full": 0.001},
            "runs": {
                "LoRA r=1": [forgetting_run(0, 0.2, 2.4), forgetting_run(1, 0.3, 2.3)],
                "full": [forgetting_run(0, 0.5, 2.1, 0.001), forgetting_run(1, 0.5, 2.1, 0.001)],
            },
        },
    },
}  # fmt: skip
