"""Healthy set-ups: the doctor finds nothing."""

import copy
import warnings

from lora_teach import LoRAModel, train, training_steps
from lora_teach.bases.digit_net import load_digit_net
from lora_teach.bases.name_gpt import load_name_gpt, name_loss
from lora_teach.datasets import names
from lora_teach.datasets.digits import rotated
from lora_teach.doctor import diagnose
from lora_teach.layer import VARIANTS
from tests.doctor.setups import ORIGINS, TARGETS, ByHand, Plain, Setup, adapt, base_of, numbers, setup
from tests.toy import filled

import peft
import pytest
import torch
import torch.nn.functional as F
from torch import nn

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


def trained(one, steps=3):
    """The set-up after a few steps of its own optimiser."""
    for _ in range(steps):
        one.optimizer.zero_grad()
        if isinstance(one.batch, dict):
            loss = one.model(**one.batch).loss
        else:
            loss = one.loss_fn(one.model(one.batch[0]), one.batch[1])
        loss.backward()
        one.optimizer.step()
    one.optimizer.zero_grad()
    return one


def without(one, *names):
    for name in names:
        setattr(one, name, None)
    return one


def with_history(one):
    one.history = train(one.model, [one.batch], one.loss_fn, steps=12, lr=1e-2, progress=False)
    return one


def checkpointed(origin, reentrant):
    one = setup("llama", origin)
    one.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
    if reentrant:
        one.model.enable_input_require_grads()
    return one


def two_adapters(origin):
    if origin == "ours":
        one = setup("llama", "ours")
        one.model.add_adapter("second", rank=2, target_modules=["o_proj"])
    else:
        one = setup("llama", "peft")
        one.model.add_adapter("second", peft.LoraConfig(r=2, target_modules=["o_proj"]))
    return one


def mixed():
    one = setup("names", "ours")
    one.model.add_adapter("second", rank=2, target_modules=["q_proj", "v_proj"])
    filled(one.model)
    one.model.set_adapter({"default": 0.7, "second": 0.3})
    return without(one, "optimizer")


def inactive():
    one = setup("bert", "ours")
    one.model.set_adapter(None)
    return without(one, "optimizer", "batch")


def merged():
    one = trained(setup("names", "ours"))
    one.model.eval()
    one.model.merge()
    return without(one, "optimizer")


def merged_of_peft():
    one = trained(setup("llama", "peft"))
    one.model.eval()
    one.model.merge_adapter()
    return without(one, "optimizer")


def for_use(origin, tmp_path_factory=None):
    one = trained(setup("llama", origin))
    for p in one.model.parameters():
        p.requires_grad_(False)
    one.model.eval()
    return without(one, "optimizer", "batch")


def batchnorm(still):
    norm = nn.BatchNorm1d(16)
    one = setup("plain", "hand", base_options={"norm": norm})
    if still:
        norm.train = lambda mode=True: norm
        norm.training = False
    else:
        for p in norm.parameters():
            p.requires_grad_(True)
        one.model.head = nn.Sequential(one.model.norm, one.model.head)
        one.model.norm = nn.Identity()
        for p in one.model.head.parameters():
            p.requires_grad_(True)
        one.rebuild()
    return one


class Int8Linear(nn.Linear):
    """A weight in 8 bits and a scale; the forward makes it wide again."""

    def __init__(self, linear):
        super().__init__(linear.in_features, linear.out_features, device="meta")
        scale = linear.weight.abs().max() / 127
        self.weight = nn.Parameter((linear.weight / scale).round().to(torch.int8), requires_grad=False)
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().clone())
        self.register_buffer("scale", scale.detach())

    def forward(self, x):
        return F.linear(x, self.weight.to(x.dtype) * self.scale, self.bias)


def quantised():
    base, batch, loss_fn = base_of("plain")
    base.fc1, base.fc2 = Int8Linear(base.fc1), Int8Linear(base.fc2)
    return Setup(adapt(base, "plain", "ours"), None, batch, loss_fn).rebuild()


def warming_up():
    one = setup("llama", "ours")
    torch.optim.lr_scheduler.LambdaLR(one.optimizer, lambda step: min(1.0, step / 10))
    return one


def b_first():
    one = setup("plain", "ours")
    for layer in one.model.lora_layers.values():
        layer.lora_A.requires_grad_(False)
    return trained(one.rebuild(1e-2))


def sgd():
    one = setup("plain", "peft")
    one.optimizer = torch.optim.SGD([p for p in one.model.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    return trained(one)


def accumulating():
    one = setup("names", "hand")
    one.loss_fn(one.model(one.batch[0]), one.batch[1]).backward()
    return one


def real_names(language, lr=3e-3):
    model = LoRAModel(load_name_gpt(), rank=4)
    batch = next(iter(names.batches(names.load(language).train)))
    return Setup(model, None, batch, name_loss).rebuild(lr)


def digits(lr=3e-2):
    x, y = rotated(90).train
    model = LoRAModel(load_digit_net(), rank=4)
    return Setup(model, None, (x[:64], y[:64]), F.cross_entropy).rebuild(lr)


def article():
    model = LoRAModel(load_name_gpt(), rank=8, alpha=0.01, scaling="alpha", init="randn")
    batch = next(iter(names.batches(names.load("Finnish").train)))
    optimizer = torch.optim.Adam(model.lora_layers.parameters(), lr=1e-2)
    return Setup(model, optimizer, batch, name_loss)


def packed():
    """Plain text without prompts: everything counts, and no text need end within a row."""
    one = setup("llama", "ours")
    ids = numbers(3, 9, low=3, high=23)
    one.batch = {"input_ids": ids, "labels": ids}
    return one


def masked_language_model():
    from tests.doctor.setups import SIZES, TEXT

    import transformers

    base = transformers.BertForMaskedLM(transformers.BertConfig(**SIZES, **TEXT, max_position_embeddings=32))
    ids = numbers(3, 9, low=3, high=23)
    model = LoRAModel(base.train(), rank=4, target_modules=["query", "value"])
    return Setup(model, None, {"input_ids": ids, "labels": ids}).rebuild()


def by_peft_init(how):
    return setup("llama", "peft", init_lora_weights=how)


def with_bias():
    return setup("llama", "peft", bias="all")


def embedding_adapted():
    return setup("llama", "peft", target_modules=["embed_tokens", "q_proj"])


def lora_over_embedding():
    return setup("llama", "ours", target_modules=["embed_tokens", "q_proj"])


def head_by_hand():
    one = setup("plain", "hand")
    for p in one.model.head.parameters():
        p.requires_grad_(True)
    return one.rebuild()


def copied():
    one = trained(setup("names", "ours"))
    model = copy.deepcopy(one.model)
    return Setup(model, None, one.batch, one.loss_fn).rebuild()


HEALTHY = {
    **{f"{a} {o}": (lambda a=a, o=o: setup(a, o)) for a in TARGETS for o in ORIGINS},
    **{f"{a} {o} trained": (lambda a=a, o=o: trained(setup(a, o))) for a in TARGETS for o in ORIGINS},
    **{f"{o} history": (lambda o=o: with_history(setup("plain", o))) for o in ORIGINS},
    **{f"{o} model alone": (lambda o=o: without(setup("llama", o), "optimizer", "batch")) for o in ORIGINS},
    **{f"{o} no optimizer": (lambda o=o: without(setup("llama", o), "optimizer")) for o in ORIGINS},
    **{f"{o} in use": (lambda o=o: for_use(o)) for o in ORIGINS},
    **{f"{o} rank 1": (lambda o=o: setup("bert", o, rank=1)) for o in ORIGINS},
    **{f"{o} dropout": (lambda o=o, k=k: setup("llama", o, **{k: 0.3}))
       for o, k in zip(ORIGINS, ("dropout", "lora_dropout", "dropout"), strict=True)},
    **{f"{o} float64": (lambda o=o: setup("plain", o, dtype=torch.float64)) for o in ORIGINS},
    **{f"{o} bfloat16 base": (lambda o=o: setup("llama", o, dtype=torch.bfloat16)) for o in ("ours", "peft")},
    **{f"{o} checkpointed": (lambda o=o: checkpointed(o, False)) for o in ORIGINS},
    **{f"{o} checkpointed, reentrant": (lambda o=o: checkpointed(o, True)) for o in ORIGINS},
    **{f"{o} two adapters": (lambda o=o: two_adapters(o)) for o in ("ours", "peft")},
    **{f"variant {v}": (lambda v=v: setup("plain", "ours", variant=v)) for v in VARIANTS},
    **{f"variant {v} trained": (lambda v=v: trained(setup("plain", "ours", variant=v))) for v in VARIANTS},
    **{f"variant {v} alone": (lambda v=v: without(setup("plain", "ours", variant=v), "optimizer")) for v in VARIANTS},
    "B drawn": lambda: setup("plain", "ours", init="uniform_B"),
    "B drawn, trained": lambda: trained(setup("plain", "ours", init="uniform_B")),
    **{f"scaling {s}": (lambda s=s: setup("names", "ours", scaling=s)) for s in ("alpha/sqrt(r)", "alpha")},
    "learnable scaling": lambda: setup("names", "ours", learnable_scaling=True),
    "rank pattern": lambda: setup("names", "ours", rank_pattern={"q_proj": 8}),
    "tied head": lambda: setup("llama", "ours", base_options={"tie_word_embeddings": True}),
    "tied head, PEFT": lambda: setup("llama", "peft", base_options={"tie_word_embeddings": True}),
    "head saved": lambda: setup("bert", "ours", modules_to_save=["classifier"]),
    "head saved, PEFT": lambda: setup("bert", "peft", modules_to_save=["classifier"]),
    "head trained by hand": head_by_hand,
    "use_dora": lambda: setup("llama", "peft", use_dora=True),
    "use_rslora": lambda: setup("llama", "peft", use_rslora=True),
    "pissa": lambda: by_peft_init("pissa"),
    "gaussian": lambda: by_peft_init("gaussian"),
    "olora": lambda: by_peft_init("olora"),
    "biases trained": with_bias,
    "embedding adapted, PEFT": embedding_adapted,
    "embedding adapted": lora_over_embedding,
    "mixed": mixed,
    "inactive": inactive,
    "merged for use": merged,
    "merged for use, PEFT": merged_of_peft,
    "batchnorm that is still": lambda: batchnorm(True),
    "batchnorm of a trained head": lambda: batchnorm(False),
    "quantised": quantised,
    "warm-up": warming_up,
    "A frozen": b_first,
    "SGD": sgd,
    "accumulated gradients": accumulating,
    "Finnish": lambda: real_names("Finnish"),
    "Zulu": lambda: real_names("Zulu", 1e-2),
    "Icelandic": lambda: real_names("Icelandic", 1e-3),
    "digits": digits,
    "the article's": article,
    "plain text": packed,
    "masked language model": masked_language_model,
    "a copy": copied,
}  # fmt: skip


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_setup_has_no_finding(name):
    one = HEALTHY[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        diagnosis = diagnose(one.model, **one.given())
    assert diagnosis.ok, diagnosis


def test_there_are_enough_healthy_setups():
    assert len(HEALTHY) >= 40
    assert ByHand and Plain


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_captured_run_has_no_finding_while_it_runs_and_afterwards():
    def losses(look):
        one = setup("llama", "ours")
        one.model.to("cuda")
        seen, options = [], {"lr": 1e-3, "steps": 9, "capture": True}
        for step in training_steps(one.model, [one.batch], one.loss_fn, **options):
            seen.append(step.loss)
            if look and step.index in (4, 9):
                assert diagnose(one.model, batch=one.batch, loss_fn=one.loss_fn).ok
        return seen

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert losses(look=True) == losses(look=False)
