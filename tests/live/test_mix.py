import pytest

from lora_teach.bases import evaluate, gumbel_noise, load_language_adapter, load_name_gpt, sample_names
from lora_teach.datasets import names
from lora_teach.pictures.mix.view import COLUMNS, SEED, SHOWN, Mix

# test_views.py sweeps the picture; here it is the sentences that are compared with numbers computed another way.


@pytest.fixture(scope="module")
def explorer():
    return Mix.example(guess=(2.6, 2.7))


@pytest.fixture(scope="module")
def model():
    return load_language_adapter(load_language_adapter(load_name_gpt(), "Finnish"), "Zulu")


def losses(model, mixture):
    model.set_adapter(mixture)
    return [evaluate(model, names.load(language).test) for language in ("Finnish", "Zulu")]


@pytest.mark.parametrize("share", [0.0, 0.15, 0.5, 1.0])
def test_sentence_has_both_losses_and_how_much_of_each_gain_is_kept(explorer, model, share):
    sentence = explorer.move(share=share)
    base, own = losses(model, None), [losses(model, "Finnish")[0], losses(model, "Zulu")[1]]
    found = losses(model, {"Finnish": 1 - share, "Zulu": share})
    assert f"{1 - share:.2f} × Finnish + {share:.2f} × Zulu: " in sentence
    for language, loss, before, after in zip(("Finnish", "Zulu"), found, base, own, strict=True):
        gain = (before - loss) / (before - after)
        what = f"{gain:.0%} of its adapter's gain" if gain >= 0 else f"worse than the base's {before:.2f}"
        assert f"{loss:.2f} nats on {language} names, {what}" in sentence


def test_guess_is_said_at_half_and_half_only(explorer):
    assert "Your guess: 2.60 and 2.70." in explorer.move(share=0.5)
    assert "guess" not in explorer.move(share=0.55)
    assert "guess" not in Mix()(0.5)


def test_names_are_the_mixed_models_own(explorer, model):
    model.set_adapter({"Finnish": 0.3, "Zulu": 0.7})
    written = explorer.view.written(0.7)
    assert [one.name for one in written] == sample_names(model, 0.7 * gumbel_noise(SHOWN, SEED))
    assert all(len(one.name) == len(one.tastes) for one in written)


def test_at_the_ends_each_judge_owns_most_letters(explorer):
    for share, mine, other in ((0.0, "1", "2"), (1.0, "2", "1")):
        signs = "".join(one.tastes for one in explorer.view.written(share))
        assert signs.count(mine) > 2 * signs.count(other)


def test_any_two_languages_can_be_mixed():
    view = Mix(first="Italian", second="Polish")
    assert "× Italian + 0.25 × Polish" in view(0.25) and view.weights(0.25) == {"Italian": 0.75, "Polish": 0.25}


def test_twin_tells_of_half_and_half(explorer):
    said = str(explorer.view.twin())
    assert explorer.move(share=0.5).partition(": ")[2].partition(".  ")[0].partition(". Your")[0] in said
    assert COLUMNS[0] == 0 and COLUMNS[-1] == 1


@pytest.mark.parametrize("guess", [2.5, "2.5", (2.5,), (2.5, "2.6"), (2.5, True), {"Finnish": 2.5, "Zulu": 2.6}])
def test_a_guess_that_is_not_two_losses_is_refused(guess):
    with pytest.raises(TypeError, match="is not two losses. Give"):
        Mix(guess)


@pytest.mark.parametrize("guess", [(0.5, 2.0), (2.0, 50), (float("nan"), 2.0)])
def test_a_guess_off_the_plane_is_refused(guess):
    with pytest.raises(ValueError, match="between 1 and 6 nats"):
        Mix(guess)
