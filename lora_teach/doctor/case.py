"""The case before the doctor: what was given, and what is read off it once for all faults."""

from functools import cached_property

from lora_teach.doctor.adapters import find_adapters, overlay_of
from lora_teach.doctor.trial import Trial, first_outputs_differ, loss_without, where_it_stops

from torch import nn

HEADS = {"head", "lm_head", "classifier", "score", "qa_outputs", "proj_out"}


class Case:
    """A model with what it is trained with; every attribute is computed when it is first asked for."""

    def __init__(self, model, optimizer=None, batch=None, loss_fn=None, history=None):
        self.model, self.optimizer, self.batch, self.loss_fn, self.history = model, optimizer, batch, loss_fn, history
        self.overlay = overlay_of(model)
        self.adapters = find_adapters(model)
        self.active = [one for one in self.adapters if one.active]
        self.factors = {id(p): one for one in self.adapters for p in (one.A, one.B)}
        self.parameters = {self._called(name, p): p for name, p in model.named_parameters()}
        self.trainable = {name: p for name, p in self.parameters.items() if p.requires_grad}

    def short(self, name):
        """Return a parameter's or module's name without what a wrapper puts before it."""
        if self.overlay is not None:
            return name.removeprefix("base_model.")
        return name.removeprefix("base_model.model.")

    def _called(self, name, parameter):
        one = self.factors.get(id(parameter))
        return self.short(name) if one is None else one.called("A" if parameter is one.A else "B")

    @property
    def trains(self):
        """Whether it is meant to train: an optimiser or a history is given, or a batch for a model in training."""
        return (
            self.optimizer is not None or self.history is not None or (self.batch is not None and self.model.training)
        )

    @cached_property
    def started(self):
        """Whether steps were taken: the optimiser has a state, or the history an entry."""
        return bool(self.optimizer is not None and self.optimizer.state) or bool(self.losses)

    @property
    def losses(self):
        """The history's losses."""
        return list(getattr(self.history, "loss", self.history) or [])

    @cached_property
    def groups(self):
        """``{id of a parameter: its group in the optimiser}``."""
        groups = [] if self.optimizer is None else self.optimizer.param_groups
        return {id(p): group for group in groups for p in group["params"]}

    def rates(self):
        """Return ``{name of a trainable factor: (learning rate, group)}``; a warm-up's final rate counts."""
        held = {
            n: self.groups[id(p)] for n, p in self.trainable.items() if id(p) in self.factors and id(p) in self.groups
        }
        return {name: (float(group.get("initial_lr", group["lr"])), group) for name, group in held.items()}

    @cached_property
    def trial(self):
        """What one training step does, or None without a batch."""
        if self.batch is None:
            return None
        watched = [(one.place, one.host) for one in self.active]
        return Trial(self.model, self.batch, self.loss_fn, self.optimizer, self.trainable, watched)

    def loss_without(self, factors):
        """Return the batch's loss in evaluation mode without the updates of ``factors``."""
        return loss_without(self.model, self.batch, self.loss_fn, factors)

    @cached_property
    def saved(self):
        """The ids of the parameters in copies that an adapter saves: modules_to_save, trained tokens."""
        copies = [] if self.overlay is None else [*self.overlay.saved_modules.values(), *self.overlay.adapters.values()]
        for module in self.model.modules():
            if type(module).__name__ in ("ModulesToSaveWrapper", "TrainableTokensWrapper", "TrainableTokensLayer"):
                copies.append(module)
        return {id(p) for module in copies for p in module.parameters()}

    @cached_property
    def others(self):
        """``{name: (parameter, module)}`` of what trains and belongs to no adapter and to no saved copy."""
        owners = {}
        for module in self.model.modules():
            for p in module._parameters.values():
                owners.setdefault(id(p), module)  # of a tied weight the first, which is the embedding
        biases = getattr(next(iter(getattr(self.model, "peft_config", {}).values()), None), "bias", "none")
        found = {}
        for name, p in self.trainable.items():
            allowed = name.endswith(".bias") and (
                biases == "all" or (biases == "lora_only" and ".base_layer." in name)
            )  # fmt: skip
            if id(p) not in self.factors and id(p) not in self.saved and not allowed and "lora_" not in name:
                found[name] = p, owners[id(p)]
        return found

    def is_head(self, module):
        """Tell whether ``module`` is, or lies in, an output layer: by its name, or as the last layer of the model."""
        path = next(name for name, m in self.model.named_modules() if m is module)
        layers = [m for m in self.model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        return bool(HEADS.intersection(path.split("."))) or bool(layers and module is layers[-1])

    def output_differs(self, tokens, other):
        """Tell whether the model's output at the first position differs between two batches of tokens."""
        return first_outputs_differ(self.model, self.batch, tokens, other)

    def where_it_stops(self):
        """Return the name of the module that is given something with a gradient and returns something without."""
        return where_it_stops(self.model, self.batch, self.loss_fn)
