"""What `control` makes of a dict, and places for values that a slider lacks; test_explore.py tries the other forms."""

from lora_teach.live.controls import control, positions, set_value


def test_a_dict_makes_buttons_whose_texts_are_not_their_values():
    made = control("rule", {"alpha/r": "α/r", "alpha": "constant"})
    assert made.value == "alpha/r" and [text for text, _ in made.options] == ["α/r", "constant"]
    assert positions(made) == ("alpha/r", "alpha") and made.description == "rule"


def test_a_slider_over_numbers_gets_a_place_for_a_value_it_lacks_and_only_for_that():
    slider = control("rank", [1, 2, 4])
    for value in (3, 2):
        set_value(slider, value)
        assert slider.value == value and [place for _, place in slider.options] == [1, 2, 3, 4]
    set_value(control("far", [1, 2]), 10**400)  # beyond any float
