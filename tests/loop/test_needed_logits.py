from lora_teach import LoRAModel, train
from lora_teach.loop import needed_logits
from lora_teach.loop.batches import loss_of
from lora_teach.loop.needed_logits import where_labels_count

import pytest
import torch
import transformers
from torch import nn

SMALL = {"vocab_size": 40, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}


def language_model(kind="Llama", **more):
    torch.manual_seed(0)
    if kind == "GPT2":
        config = transformers.GPT2Config(vocab_size=40, n_embd=24, n_layer=2, n_head=2, **more)
        return transformers.GPT2LMHeadModel(config)
    heads = more if kind == "GPTNeoX" else {"num_key_value_heads": 2} | more
    config = getattr(transformers, f"{kind}Config")(**SMALL, intermediate_size=32, max_position_embeddings=64, **heads)
    return getattr(transformers, f"{kind}ForCausalLM")(config)


def adapted(kind="Llama", **more):
    targets = {"GPTNeoX": ["query_key_value"], "GPT2": ["c_attn"]}.get(kind, ["q_proj", "v_proj"])
    model = LoRAModel(language_model(kind, **more), rank=2, target_modules=targets).eval()
    with torch.no_grad():
        for layer in model.lora_layers.values():
            layer.lora_B.normal_()
    return model


def chat(rows=3, length=12, answer=4, side="right"):
    """Rows whose answers end one token apart, with padding."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 40, (rows, length), generator=generator)
    labels, mask = torch.full_like(ids, -100), torch.ones_like(ids)
    for row in range(rows):
        end = length - row
        labels[row, end - answer : end] = ids[row, end - answer : end]
        mask[row, end:] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


@pytest.mark.parametrize("kind", ["Llama", "GPT2", "GPTNeoX", "Qwen2", "Mistral"])
def test_the_loss_and_its_gradients_are_the_same_with_fewer_logits(kind):
    model, batch, seen = adapted(kind), chat(), []
    head = model.base_model.get_output_embeddings()
    head.register_forward_hook(lambda module, args, output: seen.append(output.shape[1]))
    found = []
    for given in ((batch, None), where_labels_count(model, batch, None)):
        model.zero_grad()
        loss = loss_of(model, *given)
        loss.backward()
        found.append([loss.detach(), *(p.grad.clone() for p in model.trainable_parameters())])
    assert seen == [12, 6]  # answers of 4 that end 0, 1 and 2 tokens before the end
    torch.testing.assert_close(*found)


def test_a_head_that_computes_all_logits_all_the_same_is_read_where_labels_count(monkeypatch):
    model, batch = adapted(), chat()
    expected = loss_of(model, batch)
    whole = type(model.base_model).forward

    def forward(self, *args, logits_to_keep=0, **kwargs):
        return whole(self, *args, **kwargs)

    forward.__module__ = whole.__module__
    monkeypatch.setattr(type(model.base_model), "forward", forward)
    torch.testing.assert_close(loss_of(model, *where_labels_count(model, batch, None)), expected)


def hooked(model):
    model.base_model.register_forward_hook(lambda module, args, output: output)
    return model


def own_loss(model):
    model.base_model.loss_function = lambda logits, labels, **_: logits.mean()
    return model


def own_forward(model):
    model.base_model.forward = model.base_model.forward
    return model


class Subclass(transformers.LlamaForCausalLM):
    def forward(self, *args, logits_to_keep=0, **kwargs):
        return super().forward(*args, **kwargs)


def subclass(model):
    return LoRAModel(Subclass(model.base_model.config), rank=2)


def experts(model):
    more = {"output_router_logits": True, "num_local_experts": 2}
    return adapted("Mixtral", **more)


@pytest.mark.parametrize(
    "change", [hooked, own_loss, own_forward, subclass, experts, nn.DataParallel, lambda model: nn.Linear(2, 2)]
)
def test_a_model_with_a_way_of_its_own_computes_all_logits(change):
    model, batch = change(adapted()), chat()
    assert where_labels_count(model, batch, None) == (batch, None)


@pytest.mark.parametrize(
    "change",
    [
        lambda batch: batch | {"labels": batch["input_ids"]},
        lambda batch: batch | {"labels": torch.full_like(batch["labels"], -100)},
        lambda batch: batch | {"num_items_in_batch": 7},
        lambda batch: batch | {"logits_to_keep": 5},
        lambda batch: {key: value for key, value in batch.items() if key != "labels"},
        lambda batch: (batch["input_ids"], batch["labels"]),
    ],
)
def test_a_batch_that_can_spare_no_logits_stays_as_it_is(change):
    batch = change(chat())
    same, loss_fn = where_labels_count(adapted(), batch, None)
    assert same is batch and loss_fn is None


def test_a_loss_of_the_users_gets_all_logits():
    batch = chat()
    assert where_labels_count(adapted(), batch, len) == (batch, len)


def test_training_and_validation_give_what_they_gave(monkeypatch):
    runs = []
    for worth in (needed_logits.WORTH_IT, 0.0):  # 0: never
        monkeypatch.setattr(needed_logits, "WORTH_IT", worth)
        model = adapted()
        options = {"lr": 1e-2, "steps": 6, "progress": False}
        history = train(model, [chat(), chat(2, 10)], validation=[chat(2)], **options)
        runs.append([torch.tensor(history.loss), *(p.detach() for p in model.trainable_parameters())])
    torch.testing.assert_close(*runs)
