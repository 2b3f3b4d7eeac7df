"""New data arrives: every way and every share is run with every seed."""

import data.make_new_data as command
from lora_teach.measure.results import load_result
from lora_teach.pictures.new_data.numbers import WAYS


def test_every_way_and_every_share_is_run_with_every_seed(monkeypatch):
    monkeypatch.setattr(command, "start_of", lambda base, settings: {"base": [1, 2, 3]})
    monkeypatch.setattr(command, "go_on", lambda base, way, seed, settings: [[seed, 0.0, 0.0]])
    monkeypatch.setattr(command, "rehearse", lambda base, share, seed, settings: [seed, share, 0.0])
    made = command.make({"seeds": [3, 4], "shares": [0.0, 0.5]}, say=lambda *words: None)
    assert made["ways"] == {way: [[[3, 0.0, 0.0]], [[4, 0.0, 0.0]]] for way in WAYS}
    assert made["rehearsal"] == {"0.0": [[3, 0.0, 0.0], [4, 0.0, 0.0]], "0.5": [[3, 0.5, 0.0], [4, 0.5, 0.0]]}


def test_the_file_is_what_the_command_makes():
    result = load_result("new_data")
    settings, results = result["settings"], result["results"]
    assert settings == command.SETTINGS and list(results["ways"]) == list(WAYS)
    for runs in results["ways"].values():
        assert [len(run) for run in runs] == [settings["looks"] + 1] * 3
    assert list(results["rehearsal"]) == [str(share) for share in settings["shares"]]
    first = {tuple(run[0]) for run in results["ways"]["train it on"]}
    assert first == {tuple(results["start"]["adapter"])}
