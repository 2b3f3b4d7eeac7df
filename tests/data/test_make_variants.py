"""How a contender's learning rate is searched, and that the file is what the command makes."""

from data.make_variants import DIGITS, MEASURED, NAMES, SETTINGS, odd_net, parity, searched
from lora_teach.bases import accuracy
from lora_teach.measure.results import load_result
from lora_teach.measure.variants import CONTENDERS

LOSSES = {0.1: 3.0, 0.3: 1.0, 1.0: 2.0, 3.0: 4.0}


def run(done):
    def once(lr, seed):
        done.append((lr, seed))
        return LOSSES[lr] + seed / 100, 10 * LOSSES[lr], None if seed > 5 else 7

    return once


def test_a_whole_grid_is_tried_with_every_seed_and_the_lowest_loss_taken():
    done = []
    entry = searched(run(done), list(LOSSES), [0, 1])
    assert len(done) == 8 and entry["lr"] == 0.3 and entry["test"]["0.3"] == [10.0, 10.0]
    assert entry["validation"]["1.0"] == [2.0, 2.01] and entry["random"] == [7, 7]


def test_a_search_from_a_start_goes_outwards_and_the_shared_rate_is_always_run():
    done = []
    entry = searched(run(done), list(LOSSES), [0, 1], start=1.0, shared=3.0)
    assert done == [(lr, seed) for lr in (1.0, 3.0, 0.3, 0.1) for seed in (0, 1)]
    assert entry["lr"] == 0.3 and entry["test"]["3.0"] == [40.0, 40.0]
    done.clear()
    searched(run(done), [0.3, 1.0], [0], start=0.3, shared=3.0)
    assert (3.0, 0) in done


def test_the_odd_nets_base_reads_odd_digits_and_no_even_one():
    odd, even, net = parity(1), parity(0), odd_net()
    assert accuracy(net, *odd.test) > 0.95 and accuracy(net, *even.test) == 0
    assert all((y % 2 == rest).all() for rest, split in enumerate((even, odd)) for _, y in split)


def test_the_file_is_what_the_command_makes():
    whole = load_result("variants")
    assert whole["settings"] == SETTINGS
    results, seeds = whole["results"], len(SETTINGS["seeds"])
    assert list(results["digits"]) == list(DIGITS)
    grid = {str(lr) for lr in SETTINGS["digits"]["learning_rates"]}
    for task in results["digits"].values():
        assert set(task) == {"base", *CONTENDERS}
        for name in CONTENDERS:
            entry = task[name]
            assert set(entry["test"]) == grid and all(len(each) == seeds for each in entry["test"].values())
            sums = {float(lr): sum(each) for lr, each in entry["validation"].items()}
            assert sums[entry["lr"]] <= min(sums.values()) + 2e-4
    zulu = results["names"][SETTINGS["names"]["language"]]
    assert set(MEASURED) < set(zulu) <= {"base", *NAMES}
    for name in set(zulu) - {"base"}:
        for lr in (SETTINGS["shared_rate"], zulu[name]["lr"]):
            assert len(zulu[name]["test"][str(lr)]) == seeds
    assert set(results["cost"]) == set(NAMES)
