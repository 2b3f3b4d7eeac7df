"""Injected faults: each is found by its name, at the right place, over four architectures and three origins."""

import copy
import warnings

from lora_teach import LoRAModel
from lora_teach.doctor import FAULTS, diagnose
from tests.doctor.setups import ORIGINS, TARGETS, Setup, adapt, base_of, numbers, setup
from tests.doctor.test_healthy import trained, without

import peft
import pytest
import torch
import torch.nn.functional as F
from torch import nn

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
CASES = []  # (fault, label, make); make() returns (Setup, words that the evidence must hold)


def inject(fault, *labels):
    """Register a function of ``labels`` (architecture and origin) as one injected fault a label."""

    def register(make):
        for label in labels or [("plain", "ours")]:
            CASES.append(pytest.param(fault, make, label, id=f"{fault}-{'-'.join(label)}-{make.__name__}"))
        return make

    return register


EVERY = [(a, o) for a in TARGETS for o in ORIGINS]
EACH = [("llama", "ours"), ("bert", "peft"), ("names", "hand")]  # one of each origin
MIXED = [*EACH, ("plain", "ours"), ("llama", "peft"), ("plain", "hand")]


def first(one, index=0):
    """(name, A, B, host) of an adapted module."""
    name, factors = list(one.factors().items())[index]
    return (name, *factors)


# Nothing moves.


@inject("nothing_trainable", *EACH)
def all_frozen(one):
    for p in one.model.parameters():
        p.requires_grad_(False)
    return without(one, "optimizer"), "0 of"


@inject("nothing_trainable", ("names", "ours"))
def none_active(one):
    one.model.set_adapter(None)
    return one, "0 of"


@inject("optimizer_misses_adapters", *MIXED)
def built_before(one):
    other = copy.deepcopy(one.model)
    one.optimizer = torch.optim.AdamW(other.parameters(), 1e-3, weight_decay=0.0)
    return one, first(one)[0]


@inject("optimizer_misses_adapters", ("bert", "ours"), ("names", "hand"))
def lacks_one(one):
    lost = first(one, 1)[1]
    kept = [p for p in one.model.parameters() if p.requires_grad and p is not lost]
    one.optimizer = torch.optim.AdamW(kept, 1e-3, weight_decay=0.0)
    return one, f"lacks 1 of {len(kept) + 1}"


@inject("both_factors_zero", *MIXED)
def both_zero(one):
    name, A, _, _ = first(one, 1)
    nn.init.zeros_(A)
    return one, name


@inject("no_gradient_reaches_adapter", ("plain", "ours"), ("plain", "peft"), ("plain", "hand"))
def detached(one):
    target = next(m for n, m in one.model.named_modules() if n.endswith("fc2") and "adapters" not in n)
    target.register_forward_pre_hook(lambda module, args: tuple(x.detach() for x in args))
    return one, "fc1"


@inject("no_gradient_reaches_adapter", ("llama", "ours"), ("llama", "peft"), ("llama", "hand"))
def checkpointed_with_frozen_embeddings(one):
    one.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": True})
    one.model.disable_input_require_grads()  # which newer releases turn on by themselves
    return one, "q_proj"


@inject("no_gradient_reaches_adapter", ("names", "ours"), ("bert", "hand"))
def under_no_grad(one):
    inner = next(m for n, m in one.model.named_modules() if n.endswith(("blocks.1", "layer.1")) and "adapters" not in n)
    forward = inner.forward
    inner.forward = torch.no_grad()(forward)
    return one, "1."


@inject("adapter_not_called", ("plain", "ours"), ("plain", "hand"), ("plain", "peft"))
def read_by_its_weight(one):
    base = next(m for m in one.model.modules() if type(m).__name__ == "Plain")
    weight = next(p for n, p in base.fc2.named_parameters() if n.endswith("weight") and "lora" not in n)
    base.forward = lambda x: base.head(F.linear(base.fc1(x).relu(), weight).relu())
    return one, "fc2"


@inject("adapter_not_called", ("names", "ours"))
def replaced_under_the_overlay(one):
    one.model.base_model.blocks[1].attention.q_proj = nn.Linear(16, 16)
    return without(one, "batch"), "blocks.1.attention.q_proj"


@inject("adapter_not_called", ("plain", "hand"))
def made_and_forgotten(one):
    one.model.extra = copy.deepcopy(one.model.fc2)
    return one.rebuild(), "extra"


@inject("merged_while_training", ("llama", "ours"), ("bert", "ours"))
def merged(one):
    trained(one).model.merge()
    return one, first(one)[0]


@inject("merged_while_training", ("llama", "peft"), ("plain", "peft"))
def merged_by_peft(one):
    trained(one).model.merge_adapter()
    return one, first(one)[0]


@inject("merged_while_training", ("names", "hand"))
def merged_by_hand(one):
    first(one)[3].merged = True
    return one, first(one)[0]


@inject("wrong_adapter_active", ("llama", "ours"), ("names", "ours"))
def another_is_active(one):
    one.model.add_adapter("second", rank=2, target_modules=["q_proj"])
    one.model.set_adapter("second")
    return one, "'default'"


@inject("wrong_adapter_active", ("llama", "peft"), ("bert", "peft"))
def another_is_active_in_peft(one):
    one.model.add_adapter(
        "second", peft.LoraConfig(r=2, target_modules=list(one.model.peft_config["default"].target_modules))
    )
    one.model.set_adapter("second")
    return one, "'default'"


@inject("alpha_zero", *MIXED)
def no_scale(one):
    name, _, _, host = first(one, 1)
    host.scaling = {"default": 0.0} if isinstance(host.scaling, dict) else 0.0
    return one, name


# It moves and does not learn.


@inject("learning_rate_like_full_finetuning", *MIXED)
def small_rate(one):
    return one.rebuild(2e-5), "2e-05"


@inject("learning_rate_like_full_finetuning", ("plain", "ours"))
def small_rate_of_a_run(one):
    from lora_teach import History

    one.history = History(loss=[2.3] * 20, lr=[1e-5] * 20, seconds=[0.1] * 20)
    return without(one, "optimizer"), "1e-05"


@inject("scale_outlier", *MIXED)
def one_scale(one):
    name, _, _, host = first(one, 1)
    host.scaling = {"default": 50.0} if isinstance(host.scaling, dict) else 50.0
    return one, name


@inject("labels_shifted", ("llama", "ours"), ("llama", "peft"), ("llama", "hand"))
def shifted_twice(one):
    ids = numbers(3, 9, low=3, high=23)
    one.batch = {"input_ids": ids, "labels": torch.cat([ids[:, 1:], torch.full((3, 1), -100)], dim=1)}
    return one, "after the next"


@inject("labels_shifted", ("names", "ours"), ("names", "hand"), ("names", "peft"))
def not_shifted(one):
    one.batch = one.batch[0], one.batch[0]
    return one, "same token"


@inject("labels_all_masked", ("llama", "ours"), ("llama", "peft"))
def no_labels(one):
    one.batch["labels"][:] = -100
    return one, "-100"


@inject("labels_all_masked", ("names", "hand"))
def no_targets(one):
    one.batch = one.batch[0], torch.full_like(one.batch[1], -100)
    return one, "-100"


@inject("labels_all_masked", ("llama", "hand"))
def one_example_without_labels(one):
    one.batch["labels"][1] = -100
    return one, "1 of 2 examples: 1"


@inject("prompt_not_masked", ("llama", "ours"), ("llama", "peft"), ("llama", "hand"))
def everything_counts(one):
    ids = numbers(3, 10, low=3, high=23)
    ids[:, :4] = ids[0, :4]
    ids[:, -1] = 2
    one.batch = {"input_ids": ids, "labels": ids.clone()}
    return one, "first 4 tokens"


@inject("targets_without_end", ("llama", "ours"), ("llama", "peft"), ("llama", "hand"))
def end_masked_as_padding(one):
    one.batch["labels"][one.batch["input_ids"] == 2] = -100
    return one, "2 of 2"


@inject("targets_without_end", ("names", "ours"), ("names", "hand"))
def cut_off(one):
    inputs, targets = one.batch
    one.batch = inputs[:, :-1], targets[:, :-1].clone()
    one.batch[1][0, -1] = -100
    return one, "4 of 4"


@inject("dropout_in_eval", ("names", "hand"), ("plain", "hand"), ("llama", "hand"))
def dropout_always(one):
    name, _, _, host = first(one)
    linear = host.linear
    host.forward = lambda x: linear(x) + F.dropout(x, 0.5) @ host.lora_A @ host.lora_B
    return one, name


@inject("dropout_in_eval", ("llama", "peft"))
def dropout_left_on(one):
    one = setup("llama", "peft", lora_dropout=0.3)
    one.model.eval()
    name, _, _, host = first(one)
    host.lora_dropout.train()
    return without(one, "optimizer", "batch"), name


@inject("low_precision_trainables", *EACH, ("plain", "peft"))
def half_factors(one):
    name, A, B, _ = first(one)
    for factor in (A, B):
        factor.data = factor.data.bfloat16()
    return without(one, "batch"), "bfloat16"


# It blows up.


@inject("learning_rate_too_high", *MIXED)
def great_rate(one):
    return one.rebuild(3.0), "lr = 3"


@inject("learning_rate_too_high", ("plain", "hand"))
def great_rate_of_sgd(one):
    one.optimizer = torch.optim.SGD([p for p in one.model.parameters() if p.requires_grad], lr=3000.0)
    return one, "lr = 3000"


@inject("learning_rate_too_high", ("plain", "peft"))
def losses_climb(one):
    one.history = [2.0 + 0.1 * step for step in range(30)]
    return without(one, "optimizer"), "climbed from 2"


@inject("a_scale_off", *MIXED)
def drawn_on_the_wrong_axis(one):
    name, A, _, host = first(one)
    inputs = A.shape[0] if isinstance(host.lora_A, nn.Parameter) else A.shape[1]
    with torch.no_grad():
        A.mul_(0.5 * inputs**0.5 / (A.abs().max() * inputs**0.5) * 0.99)  # ±1/√r with r = 4
    return one, name


@inject("a_scale_off", ("plain", "ours"), ("names", "peft"))
def far_too_large(one):
    name, A, _, _ = first(one, 1)
    with torch.no_grad():
        A.mul_(40)
    return one, name


@inject("b_not_zero_at_start", *MIXED)
def b_drawn(one):
    name, _, B, _ = first(one)
    nn.init.normal_(B, std=0.3, generator=torch.Generator().manual_seed(1))
    return one, name


@inject("b_not_zero_at_start", ("names", "peft"))
def b_drawn_by_peft(one):
    return setup("names", "peft", init_lora_weights=False), "q_proj"


@inject("non_finite", *MIXED)
def nan_in_b(one):
    name, _, B, _ = first(one, 1)
    with torch.no_grad():
        B[0, 0] = float("nan")
    return one, name


@inject("non_finite", ("plain", "hand"))
def nan_in_the_data(one):
    one.batch[0][2, 3] = float("nan")
    return one, "the inputs of this batch hold nan"


@inject("non_finite", ("plain", "ours"))
def nan_in_the_run(one):
    one.history = [2.0, 3.0, float("inf")]
    return one, "step 3"


@inject("head_in_half_precision", ("bert", "peft"), ("bert", "ours"))
def half_head(one):
    origin = "peft" if isinstance(one.model, peft.PeftModel) else "ours"
    one = setup("bert", origin, modules_to_save=["classifier"])
    copies = [m for n, m in one.model.named_modules() if n.endswith(("modules_to_save.default", "default.classifier"))]
    copies[0].half()
    return without(one, "batch"), "classifier"


@inject("head_in_half_precision", ("plain", "hand"))
def half_head_by_hand(one):
    one.model.head.requires_grad_(True).bfloat16()
    return without(one, "batch").rebuild(), "head.weight (bfloat16)"


# It is worse than the base, or has no effect.


@inject("base_not_frozen", *EVERY)
def everything_trains(one):
    base = next(p for n, p in one.model.named_parameters() if not p.requires_grad)
    base.requires_grad_(True)
    return one.rebuild(), "1 parameters of the base require"


@inject("base_not_frozen", ("llama", "ours"), ("bert", "peft"), ("names", "hand"))
def norms_train(one):
    for name, p in one.model.named_parameters():
        if "norm" in name.lower():
            p.requires_grad_(True)
    return one.rebuild(), "of norms"


@inject("optimizer_holds_frozen", *EACH, ("plain", "peft"))
def all_parameters(one):
    one.optimizer = torch.optim.AdamW(one.model.parameters(), 1e-3, weight_decay=0.0)
    return one, "parameters that are frozen"


@inject("weight_decay_on_adapters", *MIXED)
def decays(one):
    return one.rebuild(weight_decay=0.1), first(one)[0]


@inject("train_mode_batchnorm", ("plain", "hand"), ("plain", "peft"))
def batchnorm_moves(one):
    origin = "peft" if isinstance(one.model, peft.PeftModel) else "hand"
    return setup("plain", origin, base_options={"norm": nn.BatchNorm1d(16)}), "norm"


@inject("tied_weights", ("llama", "peft"))
def head_tied(one):
    one = setup("llama", "peft", base_options={"tie_word_embeddings": True}, target_modules=["lm_head", "q_proj"])
    return one, "lm_head"


@inject("tied_weights", ("names", "hand"))
def head_tied_by_hand(one):
    one = setup("names", "hand", target_modules=["head"])
    return one, "head"


@inject("tied_weights", ("plain", "ours"))
def tied_afterwards(one):
    one.model.base_model.fc2.weight = nn.Parameter(one.model.base_model.head.weight.new_zeros(16, 16), False)
    one.model.base_model.norm = nn.Linear(16, 16)
    one.model.base_model.norm.weight = one.model.base_model.fc2.weight
    return one.rebuild(), "fc2"


@inject("adapter_is_noop", ("llama", "peft"), ("bert", "ours"), ("names", "hand"))
def nothing_loaded(one):
    for p in one.model.parameters():
        p.requires_grad_(False)
    one.model.eval()
    return without(one, "optimizer", "batch"), first(one)[0]


@inject("missing_keys", ("llama", "ours"), ("bert", "peft"), ("names", "hand"))
def half_loaded(one):
    one = trained(one)
    name, _, B, _ = first(one, 2)
    nn.init.zeros_(B)
    return without(one, "optimizer", "batch"), name


@inject("head_not_saved", ("bert", "ours"), ("bert", "peft"))
def head_trains_in_the_base(one):
    for name, p in one.model.named_parameters():
        if "classifier" in name:
            p.requires_grad_(True)
    return one.rebuild(), "classifier"


@inject("new_tokens_not_trained", ("llama", "ours"), ("llama", "peft"), ("bert", "ours"))
def two_new_tokens(one):
    origin = "peft" if isinstance(one.model, peft.PeftModel) else "ours"
    architecture = "llama" if "labels" in one.batch and one.batch["labels"].dim() == 2 else "bert"
    base, batch, loss_fn = base_of(architecture)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base.resize_token_embeddings(25)
    batch["input_ids"][0, 2] = 24
    return Setup(adapt(base, architecture, origin), None, batch, loss_fn).rebuild(), "24"


@inject("duplicate_adapters", ("llama", "peft"))
def loaded_twice(one):
    trained(one)
    one.model.add_adapter("again", one.model.peft_config["default"])
    state = peft.get_peft_model_state_dict(one.model, adapter_name="default")
    peft.set_peft_model_state_dict(one.model, state, adapter_name="again")
    one.model.base_model.set_adapter(["default", "again"])
    return without(one, "optimizer", "batch"), "q_proj"


@inject("duplicate_adapters", ("plain", "hand"))
def wrapped_twice(one):
    from tests.doctor.setups import ByHand

    one.model.fc1 = twice = ByHand(nn.Linear(12, 16))
    twice.linear = setup("plain", "hand").model.fc1
    return one.rebuild(), "fc1"


@inject("duplicate_adapters", ("names", "ours"))
def two_equal_in_a_mixture(one):
    trained(one)
    one.model.add_adapter("again", one.model.configs["default"])
    one.model.adapters["again"].load_state_dict(one.model.adapters["default"].state_dict())
    one.model.set_adapter({"default": 1.0, "again": 1.0})
    return without(one, "optimizer", "batch"), "q_proj"


@pytest.mark.parametrize("fault, make, label", CASES)
def test_an_injected_fault_is_found_by_name_and_place(fault, make, label):
    one, place = make(setup(*label))
    diagnosis = diagnose(one.model, **one.given())
    found = {finding.fault: finding for finding in diagnosis.findings}
    assert fault in found, diagnosis
    assert place in found[fault].evidence, found[fault]
    assert found[fault].cure and found[fault].notebook.startswith("08_when_it_goes_wrong.ipynb")
    assert list(found)[0] == fault or len(found) <= 3, diagnosis  # the cause is not buried


@pytest.mark.parametrize(("tokens", "found"), [([24], False), ([23], True)])
def test_trained_rows_cure_new_tokens(tokens, found):
    one, _ = two_new_tokens(setup("llama", "ours"))
    base = one.model.remove()
    model = LoRAModel(base, target_modules=["q_proj"], trainable_token_indices=tokens)
    given = one.given() | {"optimizer": None}
    faults = [finding.fault for finding in diagnose(model, **given).findings]
    assert ("new_tokens_not_trained" in faults) == found


def test_every_fault_is_injected_and_all_architectures_and_origins_are_used():
    assert {case.values[0] for case in CASES} == set(FAULTS)
    assert {case.values[2] for case in CASES} >= set(EVERY)
    assert len(CASES) >= 60


assert LoRAModel
