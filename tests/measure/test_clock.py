from lora_teach.measure.clock import take_turns

import torch


def test_the_median_leaves_out_the_worst_and_the_first_rounds_do_not_count():
    now = [0.0]
    waits = {"a": iter([9, 9, 1, 2, 70]), "b": iter([9, 9, 4, 4, 5])}

    def wait(name):
        now[0] += next(waits[name]) / 1000

    calls = {name: lambda name=name: wait(name) for name in waits}
    found = take_turns(calls, rounds=3, warm_up=2, clock=lambda: now[0])
    assert {name: round(time, 6) for name, time in found.items()} == {"a": 2, "b": 4}


def test_calls_take_turns_with_the_same_arguments_in_one_thread():
    made, threads = [], torch.get_num_threads()
    calls = {name: lambda *args, name=name: made.append((name, args, torch.get_num_threads())) for name in "ab"}
    take_turns(calls, 1, 2, rounds=2, warm_up=1)
    assert made == [("a", (1, 2), 1), ("b", (1, 2), 1)] * 3
    assert torch.get_num_threads() == threads
