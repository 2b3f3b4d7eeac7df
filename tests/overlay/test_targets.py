"""Which modules are adapted, and why the others are not."""

from lora_teach import LoRAConfig, LoRAModel
from lora_teach.layers.build import is_adaptable, is_conv1d, sizes
from lora_teach.overlay.targets import choose, matches
from tests.toy import TinyGPT, mlp, picture, same_picture

import pytest
import torch
from torch import nn

Q0, V0, Q1, V1 = "blocks.0.q_proj", "blocks.0.v_proj", "blocks.1.q_proj", "blocks.1.v_proj"


@pytest.mark.parametrize(
    ("wanted", "adapted"),
    [
        (None, [Q0, V0, Q1, V1]),
        ("all-linear", [Q0, V0, Q1, V1]),
        (["q_proj"], [Q0, Q1]),
        (["v_proj", "q_proj"], [Q0, V0, Q1, V1]),
        ([Q0], [Q0]),
        (["0.v_proj"], [V0]),
        (("blocks.1.q_proj", "0.v_proj"), [V0, Q1]),
        (r".*\.q_proj", [Q0, Q1]),
        (r"blocks\.1\..*_proj", [Q1, V1]),
        (r"blocks\.(0\.q|1\.v)_proj", [Q0, V1]),
    ],
    ids=str,
)
def test_a_list_is_names_or_last_parts_and_a_string_a_regex_that_matches_whole_names(wanted, adapted):
    assert list(LoRAModel(TinyGPT(), target_modules=wanted).lora_layers) == adapted


def test_a_set_of_names_is_taken_in_the_model_s_order():
    assert list(LoRAModel(TinyGPT(), target_modules={"q_proj", "v_proj"}).lora_layers) == [Q0, V0, Q1, V1]


@pytest.mark.parametrize(
    ("name", "wanted", "expected"),
    [
        ("a.q_proj", ["q_proj"], True),
        ("q_proj", ["q_proj"], True),
        ("a.xq_proj", ["q_proj"], False),
        ("a.q_proj.b", ["q_proj"], False),
        ("a.b.q", ["b.q"], True),
        ("a.xb.q", ["b.q"], False),
        ("aXb", ["a.b"], False),  # names in a list are no regular expressions
        ("a.q_proj", "q_proj", False),
        ("a.q_proj", r".*q_proj", True),
        ("a.q_proj2", r".*q_proj", False),
        ("a.q", (), False),
    ],
)
def test_matching_is_pefts(name, wanted, expected):
    assert matches(name, wanted) is expected


@pytest.mark.parametrize("excluded", [["q_proj"], r".*\.q_proj", ("blocks.0.q_proj", "1.q_proj")], ids=str)
def test_what_is_excluded_is_not_adapted(excluded):
    for wanted in (None, ["q_proj", "v_proj"]):
        if wanted is None:
            assert list(LoRAModel(TinyGPT(), exclude_modules=excluded).lora_layers) == [V0, V1]
        else:
            with pytest.raises(ValueError, match="takes out again"):
                LoRAModel(TinyGPT(), target_modules=wanted, exclude_modules=excluded)
    kept = LoRAModel(TinyGPT(), target_modules=r".*_proj", exclude_modules=excluded).lora_layers
    assert list(kept) == [V0, V1]


def test_choosing_looks_and_changes_nothing():
    base = TinyGPT()
    before = picture(base)
    targets = choose(base, LoRAConfig())
    assert list(targets.adapted) == [Q0, V0, Q1, V1]
    assert list(targets.left_out) == ["head"]
    assert same_picture(before, picture(base))


def test_linear_subclasses_are_adapted():
    class Scaled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    assert list(LoRAModel(nn.Sequential(nn.ReLU(), Scaled(6, 4))).lora_layers) == ["1"]


def test_layers_that_are_not_linear_are_not_adapted():
    assert not any(map(is_adaptable, (nn.Embedding(3, 3), nn.Conv2d(1, 1, 1), nn.Bilinear(2, 2, 2), nn.LayerNorm(3))))
    assert is_adaptable(nn.Linear(2, 3))
    assert sizes(nn.Linear(2, 3)) == (2, 3)


def test_conv1d_is_transformers_and_nobody_elses():
    transformers = pytest.importorskip("transformers")
    theirs = transformers.pytorch_utils.Conv1D(5, 3)  # (out, in)
    assert is_conv1d(theirs)
    assert sizes(theirs) == (3, 5)
    assert not is_conv1d(nn.Conv1d(3, 5, 1))
    assert not is_conv1d(type("Conv1D", (nn.Module,), {})())


@pytest.mark.parametrize(
    ("slip", "near"),
    [
        ("q_porj", "'q_proj', 'v_proj', 'blocks.1.q_proj', 'blocks.0.q_proj'."),
        ("hed", "'head'."),
        ("blocks.0.q", "'blocks.0.q_proj', 'blocks.1.q_proj', 'blocks.0.v_proj', 'blocks.1.v_proj'."),
        ("xx", "'embedding', 'q_proj', 'v_proj', 'head'."),  # none is near, so all last parts
    ],
)
def test_the_nearest_names_are_listed_for_a_slip_of_the_pen(slip, near):
    with pytest.raises(ValueError, match=f"target_modules='{slip}' matches no module. The nearest names are: {near}$"):
        LoRAModel(TinyGPT(), target_modules=[slip])


def test_no_more_than_eight_names_are_listed():
    base = nn.ModuleDict({f"layer{index}": nn.Linear(2, 2) for index in range(9)})
    with pytest.raises(ValueError, match="are: 'layer0', .*'layer7'.$"):
        LoRAModel(base, target_modules=["?"])


def test_a_base_without_a_linear_layer_says_so():
    with pytest.raises(ValueError, match="no linear layer at all"):
        LoRAModel(nn.Sequential(nn.ReLU()), target_modules=["0x"])


def test_a_rank_pattern_is_the_rank_that_the_layer_is_measured_by():
    model = LoRAModel(mlp(), rank=5, rank_pattern={"2": 4})
    assert {name: layer.rank for name, layer in model.lora_layers.items()} == {"0": 5, "2": 4}
    with pytest.raises(ValueError, match="rank=7.*1..4"):
        LoRAModel(mlp(), target_modules=["0", "2"], rank_pattern={"2": 7})


def test_a_model_whose_weights_cannot_be_seen_yet_can_be_chosen_from():
    with torch.device("meta"):
        base = TinyGPT(tied=False)
    assert len(choose(base, LoRAConfig()).adapted) == 5


@pytest.mark.parametrize("option", ["target_modules", "exclude_modules"])
@pytest.mark.parametrize(
    "wanted, said",
    [
        ("v_proj", r"regular expression for whole names.*Use {}=\['v_proj'\]"),
        ("1.q_proj", r"regular expression.*Use {}=\['1.q_proj'\]"),
        (r".*\.(k|o)_proj", r"matches no module.*nearest"),
        (["v_proj", "vproj"], r"'vproj' matches no module.*'v_proj'"),
        (["blocks.2.v_proj"], r"'blocks.2.v_proj' matches no module.*'blocks.1.v_proj'"),
    ],
    ids=str,
)
def test_a_name_that_matches_nothing_is_refused_with_the_nearest(option, wanted, said):
    base = TinyGPT()
    with pytest.raises(ValueError, match=said.format(option)):
        LoRAModel(base, rank=2, **{option: wanted})
    assert not any(module._forward_hooks for module in base.modules())


@pytest.mark.parametrize("option", ["rank_pattern", "alpha_pattern"])
def test_a_pattern_that_matches_nothing_is_refused(option):
    with pytest.raises(ValueError, match=rf"{option} has 'q_prj', which matches no module.*'q_proj'"):
        LoRAModel(TinyGPT(), rank=2, **{option: {"v_proj": 1, "q_prj": 1}})


@pytest.mark.parametrize("option", ["rank_pattern", "alpha_pattern"])
@pytest.mark.parametrize("key", ["v_proj", r"blocks\.1\.q_proj", "norm", "head"])
def test_a_pattern_for_modules_that_are_not_adapted_is_refused(option, key):
    with pytest.raises(ValueError, match=rf"{option} has .*matches only modules that are not adapted.*target_modules"):
        LoRAModel(TinyGPT(), rank=2, target_modules=["0.q_proj"], **{option: {"0.q_proj": 1, key: 1}})


@pytest.mark.parametrize("excluded", [["first"], ["second"], "first|nothing"])
def test_a_module_under_two_names_is_left_out_under_either(excluded):
    base = nn.Sequential()
    base.first = base.second = nn.Linear(4, 4)
    base.third = nn.Linear(4, 4)
    assert list(LoRAModel(base, rank=2, exclude_modules=excluded).lora_layers) == ["third"]
