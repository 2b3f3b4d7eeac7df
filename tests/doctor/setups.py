"""Training set-ups over four small architectures, with adapters of three origins, all healthy as they are made."""

import warnings
from dataclasses import dataclass

from lora_teach import LoRAModel
from lora_teach.bases.name_gpt import NameGPT, name_loss
from tests.toy import fixed

import peft
import torch
import torch.nn.functional as F
import transformers
from torch import nn

SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = {"vocab_size": 23, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
TARGETS = {
    "llama": ["q_proj", "v_proj"],
    "bert": ["query", "value"],
    "names": ["q_proj", "v_proj"],
    "plain": ["fc1", "fc2"],
}
ORIGINS = ("ours", "peft", "hand")


@dataclass
class Setup:
    """What the doctor is given, and the factors under the names of their modules."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    batch: object
    loss_fn: object = None
    history: object = None

    def given(self):
        return {"optimizer": self.optimizer, "batch": self.batch, "loss_fn": self.loss_fn, "history": self.history}

    def factors(self):
        """{name of the adapted module: (A, B, host)}, in the order of the model."""
        found = {}
        for name, module in self.model.named_modules():
            if hasattr(module, "lora_A") and hasattr(module, "lora_B"):
                A, B = module.lora_A, module.lora_B
                if isinstance(A, nn.ModuleDict):
                    A, B = (next(iter(factor.values())).weight for factor in (A, B))
                short = name.removeprefix("base_model.model.").removeprefix("adapters.default.")
                found[short] = A, B, module
        return found

    def rebuild(self, lr=1e-3, **options):
        """A new optimiser of what trains now."""
        trainable = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trainable, lr, **{"weight_decay": 0.0, **options})
        return self


class Plain(nn.Module):
    """Three layers by hand, without a config."""

    def __init__(self, norm=None):
        super().__init__()
        self.fc1, self.fc2, self.head = nn.Linear(12, 16), nn.Linear(16, 16), nn.Linear(16, 5)
        self.norm = norm or nn.Identity()

    def forward(self, x):
        x = self.fc1(x).relu()
        return self.head(self.norm(self.fc2(x)).relu())


class ByHand(nn.Module):
    """LoRA as many write it: a frozen linear layer and two parameters beside it."""

    def __init__(self, linear, rank=4, alpha=4, dropout=0.0):
        super().__init__()
        self.linear = linear
        bound = linear.in_features**-0.5
        made = {"device": linear.weight.device, "dtype": linear.weight.dtype}
        self.lora_A = nn.Parameter(torch.empty(linear.in_features, rank, **made).uniform_(-bound, bound))
        self.lora_B = nn.Parameter(torch.zeros(rank, linear.out_features, **made))
        self.scaling = alpha / rank
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        return self.linear(x) + self.scaling * (self.dropout(x) @ self.lora_A @ self.lora_B)


def numbers(*shape, low=None, high=None, seed=3):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draw) if low is None else torch.randint(low, high, shape, generator=draw)


def llama_batch():
    """Two prompts of two tokens and their answers, up to the end mark; one is shorter and padded."""
    ids = numbers(2, 7, low=3, high=23)
    ids[0, -1] = 2
    ids[1, -2:] = torch.tensor([2, 0])
    labels = ids.clone()
    labels[:, :2] = -100
    labels[1, -1] = -100
    return {"input_ids": ids, "attention_mask": (ids != 0).long(), "labels": labels}


def base_of(architecture, **options):
    """(base, batch, loss function); the base's numbers depend on its shapes alone."""
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        if architecture == "llama":
            config = transformers.LlamaConfig(
                **{**SIZES, **TEXT, "num_key_value_heads": 1, "max_position_embeddings": 32, **options}
            )
            base, batch, loss_fn = transformers.LlamaForCausalLM(config), llama_batch(), None
        elif architecture == "bert":
            config = transformers.BertConfig(**SIZES, **TEXT, max_position_embeddings=32, num_labels=5, **options)
            mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1] * 6])
            batch = {"input_ids": numbers(2, 6, low=3, high=23), "attention_mask": mask, "labels": torch.tensor([1, 3])}
            base, loss_fn = transformers.BertForSequenceClassification(config), None
        elif architecture == "names":
            base, loss_fn = NameGPT(vocabulary=23, width=16, layers=2, heads=2, max_length=8), name_loss
            tokens = numbers(4, 7, low=1, high=23)
            tokens[:, 0] = tokens[:, -1] = 0
            batch = tokens[:, :-1], tokens[:, 1:]
        else:
            base, batch = Plain(**options), (numbers(8, 12), numbers(8, low=0, high=5))
            loss_fn = F.cross_entropy
    fixed(base)
    with torch.no_grad():
        for parameter in base.parameters():
            parameter.mul_(0.4)
    return base.train(), batch, loss_fn


def adapt(base, architecture, origin, rank=4, **options):
    """Lay adapters of one origin over ``base``, drawn from a fixed seed."""
    targets = options.pop("target_modules", TARGETS[architecture])
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(7)
        if origin == "ours":
            return LoRAModel(base, rank=rank, alpha=4, target_modules=targets, **options)
        if origin == "peft":
            return peft.get_peft_model(base, peft.LoraConfig(r=rank, lora_alpha=4, target_modules=targets, **options))
        for parameter in base.parameters():
            parameter.requires_grad_(False)
        for name, module in list(base.named_modules()):
            if name.rpartition(".")[2] in targets:
                parent, _, last = name.rpartition(".")
                setattr(base.get_submodule(parent), last, ByHand(module, rank, **options))
        return base


def setup(architecture, origin, lr=1e-3, base_options=None, dtype=None, **options):
    """A healthy set-up, ready to train."""
    base, batch, loss_fn = base_of(architecture, **(base_options or {}))
    if dtype is not None:
        base = base.to(dtype)
        if architecture == "plain":
            batch = batch[0].to(dtype), batch[1]
    model = adapt(base, architecture, origin, **options)
    return Setup(model, None, batch, loss_fn).rebuild(lr)
