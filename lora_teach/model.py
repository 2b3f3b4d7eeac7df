"""LoRAModel: adapters laid over a base model, whose modules stay what and where they are."""

from contextlib import contextmanager

from lora_teach.config import given_config
from lora_teach.layers.tokens import TrainedTokens
from lora_teach.overlay.adapter import Adapter, check_known, check_name, mixture_of
from lora_teach.overlay.base import Found, check_base, forget_compiled, keep_dense, refuse_writing_the_base
from lora_teach.overlay.counting import count_numbers, report
from lora_teach.overlay.inspection import check_in_place
from lora_teach.overlay.merging import check_replaceable, merge_weights, restore_weights, updates_of
from lora_teach.overlay.names import submodule, unwrapped
from lora_teach.overlay.nested_modules import walk
from lora_teach.overlay.rows import Rows
from lora_teach.overlay.saved import follow_mode, in_the_modules_dtype
from lora_teach.peft_format import save_load

from torch import nn


class Hook:
    """The forward hook on an adapted module: here x·A·B is added to the output.

    It is registered once and asks the model at each call, so switching adapters, replacing a layer or merging never
    touches the hooks (torch.compile would ignore hooks that are added after it).
    """

    of_overlay = True

    def __init__(self, model, path):
        self.model, self.path = model, path

    def __call__(self, module, args, kwargs, output):
        """Return the module's output with the active updates added, or the output of its saved copy."""
        copy, updates = self.model.updates_for(self.path)
        for inner in [layer for _, layer in updates]:
            if inner.training != module.training:
                inner.train(module.training)  # dropout follows the adapted module
        if copy is not None:
            follow_mode(copy, module, self.model.training)
            return in_the_modules_dtype(copy, module)(*args, **kwargs)
        for weight, layer in updates:
            x = args[0] if args else next(iter(kwargs.values()))  # (..., in_features)
            if weight == 1 and getattr(layer.forward, "takes_base_output", False):
                output = layer(x, base_output=output)  # (..., out_features), in one pass over the output
            else:  # a mixture, or a forward(x) of the learner's own
                output = output + (weight * layer(x)).to(output.dtype)
        return output


class LoRAModel(nn.Module):
    """A base model with LoRA adapters laid over it.

    Construction freezes the base, running statistics included, makes a LoRALayer for each chosen layer and registers
    one forward hook on the latter that adds the update to its output. Nothing in the base is replaced: classes, names
    and tied weights stay, and `remove` leaves no trace. What this class lacks (``generate``, …) is asked of the base.

    Move and train the LoRAModel, never its ``base_model`` alone. Switch, mix and change alpha between training steps,
    not between a forward and its backward; in asynchronous code, do not await inside `disabled` or `merged`.

    Args:
        base_model: Any ``nn.Module`` that holds ``nn.Linear`` or transformers' Conv1D layers, or, adapted if they are
            asked for by name, ``nn.Embedding`` or ``nn.Conv2d``.
        config: Options of the first adapter; or give LoRAConfig's options as keywords.
        adapter_name: Name of the first adapter.

    Attributes:
        base_model: The base, in place.
        adapters: ``{adapter name: its layers}``; the layers are under the dotted names of the modules they adapt.
        saved_modules: ``{adapter name: its own copies of modules_to_save, and its rows of tables}``.
        left_out: ``{adapter name: {module name: why it is not adapted}}``.

    Raises:
        TypeError: ``base_model`` is no module, or is a LoRAModel.
        ValueError: The base carries an overlay already, or an option does not fit it. Nothing has changed then.
    """

    def __init__(self, base_model, config=None, adapter_name="default", **options):
        super().__init__()
        check_base(base_model)
        self.base_model = base_model
        self.adapters, self.saved_modules = nn.ModuleDict(), nn.ModuleDict()  # registered: their numbers are saved
        self._adapters = {}  # adapter name -> Adapter, which holds those modules, its config and its state
        self._active = {}  # adapter name -> weight in the mixture
        self._disabled, self._backup = 0, None  # how many disabled() blocks are open; the weights under a merge
        self._rows = None  # the open rows() block
        self._hooks = {}  # module name -> handle
        self._found = Found(base_model)  # the base's own flags and modes; None after remove()
        self.add_adapter(adapter_name, config, **options)
        self._encoder_hooks = keep_dense(base_model)
        self._found.freeze()
        self.set_adapter(adapter_name)
        self.training = base_model.training
        self.adapters.train(base_model.training)

    def forward(self, *args, **kwargs):
        """Call the base model; the hooks add the active adapters' updates on the way."""
        return self.base_model(*args, **kwargs)

    def updates_for(self, path):
        """Return what is active now at the module called ``path``: ``(saved copy or None, [(weight, layer), ...])``."""
        if self._disabled:
            return None, []
        if self._rows is not None:
            return None, self._rows.updates_at(path, self.adapters, self.saved_modules)
        updates = []
        for name, weight in self._active.items():
            copy, layer = self.saved_modules[name].get(path), self.adapters[name].get(path)
            if isinstance(copy, TrainedTokens):
                copy, layer = None, copy
            if copy is not None:
                return copy, []
            if layer is not None and self._backup is None:  # under a merge the update is in the base's weight
                updates.append((weight, layer))
        return None, updates

    # Adapters: add, choose, mix, delete.

    def add_adapter(self, name, config=None, **options):
        """Add an adapter, inactive until `set_adapter` chooses it. Options are LoRAConfig's, as keywords."""
        self._refuse_while_held(f"add_adapter({name!r})")
        check_name(name, self.adapters)
        config = given_config(config, options)
        adapter = Adapter(self.base_model, config, self._adapters.values())
        self._adapters[name] = adapter
        self.adapters[name], self.saved_modules[name] = adapter.layers, adapter.saved_modules
        for path in adapter.paths:
            if path not in self._hooks:
                hook = Hook(self, path)
                self._hooks[path] = submodule(self.base_model, path).register_forward_hook(hook, with_kwargs=True)
                forget_compiled()
        adapter.deactivate()

    def set_adapter(self, adapter):
        """Choose what is active: a name, a mixture ``{name: weight}``, or None for the base alone.

        A mixture adds the weighted sum of its adapters' updates. Adapters that are not active require no gradients;
        activating one restores each parameter's own flag.

        Raises:
            KeyError: A name that is not there.
            TypeError: Neither name nor mixture, or a weight that is not a finite number.
            ValueError: A mixture with an adapter that is active alone: DoRA, or one that has ``modules_to_save``.
            RuntimeError: The model is merged, or inside ``disabled()``.
        """
        self._refuse_while_held(f"set_adapter({adapter!r})")
        self._choose(mixture_of(adapter, self._adapters))

    def _choose(self, mixture):
        self._active = mixture
        for name, one in self._adapters.items():
            one.activate() if name in self._active else one.deactivate()

    def delete_adapter(self, name):
        """Delete an adapter; if it was active, the others of the mixture stay active, or none."""
        self._refuse_while_held(f"delete_adapter({name!r})")
        check_known(name, self._adapters)
        self._active.pop(name, None)
        del self._adapters[name], self.adapters[name], self.saved_modules[name]
        used = {path for adapter in self._adapters.values() for path in adapter.paths}
        for path in self._hooks.keys() - used:
            self._hooks.pop(path).remove()

    @property
    def adapter_names(self):
        """Names of all adapters, in the order they were added."""
        return list(self.adapters)

    @property
    def active_adapters(self):
        """``{name: weight}`` of what is active now."""
        return dict(self._active)

    @property
    def configs(self):
        """``{adapter name: its LoRAConfig}``."""
        return {name: adapter.config for name, adapter in self._adapters.items()}

    @property
    def left_out(self):
        """``{adapter name: {module name: why it is not adapted}}``."""
        return {name: adapter.left_out for name, adapter in self._adapters.items()}

    @property
    def lora_layers(self):
        """The active adapter's layers under dotted names, ``model.lora_layers["blocks.0.q_proj"]``."""
        if len(self._active) != 1:
            raise RuntimeError(
                f"lora_layers means the single active adapter's layers, and {len(self._active)} are active "
                f"({', '.join(self._active) or 'none'}). Use model.adapters[name], or set_adapter(name) first."
            )
        return self.adapters[next(iter(self._active))]

    @property
    def is_disabled(self):
        """Whether a `disabled` block is open."""
        return self._disabled > 0

    @contextmanager
    def disabled(self):
        """Within the block the model is the base model, to the last bit."""
        found_merged = self.is_merged
        self.unmerge()
        self._disabled += 1  # counted, since blocks of coroutines may end in any order
        try:
            yield self
        finally:
            self._disabled -= 1
            if found_merged:
                self.merge()

    @contextmanager
    def rows(self, names):
        """Within the block each row of the batch has its own adapter: one call in place of one call for each adapter.

        Every call inside is of a batch of ``len(names)`` rows, its first dimension; another is an error. Row by row the
        output and the gradients are those of the adapter alone; a backward belongs inside the block. The adapters may
        have other ranks, layers and variants. ``generate`` works inside; with several beams or sequences for a prompt,
        each prompt is named that many times in succession.

        Args:
            names: For each row the name of an adapter, or None for the base alone.

        Raises:
            KeyError: A name that is not there.
            TypeError: No list of names.
            ValueError: No row; an adapter with ``modules_to_save``; a base that takes (seq, batch, …).
            RuntimeError: The model is merged, or inside ``disabled()`` or ``rows()``.
        """
        self._refuse_while_held("rows(…)")
        rows, found = Rows(names, self._adapters, self.base_model), self._active
        self._choose(dict.fromkeys(rows.used, 1.0))
        self._rows = rows
        try:
            yield self
        finally:
            self._rows = None
            self._choose(found)

    @property
    def open_rows(self):
        """The adapter of each row in the `rows` block that is open, or None."""
        return None if self._rows is None else list(self._rows.names)

    # Merging.

    @property
    def is_merged(self):
        """Whether the active updates are folded into the base's weights."""
        return self._backup is not None

    def merge(self):
        """Fold the active updates into the base's weights; merging twice is merging once.

        Raises:
            ValueError: A weight that is shared, quantised, meta or parametrised; nothing has changed then.
            RuntimeError: No adapter is active, or the model is inside ``disabled()``.
        """
        if self.is_merged:
            return
        self._refuse_while_held("merge()")
        if not self._active:
            raise RuntimeError("no adapter is active, so there is nothing to merge. Choose one with set_adapter(name).")
        check_in_place(self)
        self._backup = merge_weights(self.base_model, updates_of(self))

    def unmerge(self):
        """Put the base's weights back as they were, to the last bit; without a merge it does nothing."""
        if self.is_merged:
            check_in_place(self)
            restore_weights({path: submodule(self.base_model, path) for path, _ in self._backup}, self._backup)
            self._backup = None

    @contextmanager
    def merged(self):
        """Within the block the updates are merged; afterwards the model is as it was found."""
        found = self.is_merged
        self.merge()
        try:
            yield self
        finally:
            if found:
                self.merge()
            else:
                self.unmerge()

    def remove(self, merge=False):
        """Take the overlay off and return the base model, with its own ``requires_grad`` flags and no trace left.

        With ``merge=True`` the base keeps the active updates in its weights, and the active adapter's saved modules.
        This LoRAModel has no adapters afterwards, takes no new ones, and calls the plain base.
        """
        if self._disabled:
            raise RuntimeError("remove(): the model is inside disabled(). Leave that block first.")
        if self._rows is not None:
            raise RuntimeError("remove(): the model is inside rows(). Leave that block first.")
        if self._found is None:  # removed already
            return self.base_model
        if merge:
            saved = [pair for adapter in self._active for pair in walk(self.saved_modules[adapter])]
            saved = [(path, copy) for path, copy in saved if not isinstance(copy, TrainedTokens)]
            for path, _ in saved:
                check_replaceable(self.base_model, path)
            self.merge()
            for path, copy in saved:
                submodule(self.base_model, path).load_state_dict(copy.state_dict())
            self._backup = None
        self.unmerge()
        for name in self.adapter_names:
            self.delete_adapter(name)
        for handle in self._encoder_hooks:
            handle.remove()
        self._found.put_back()
        self._found = None
        return self.base_model

    # Looking and tuning.

    def set_alpha(self, alpha):
        """Set alpha of every layer of the active adapters: their updates grow or shrink with it."""
        self._refuse_while_held(f"set_alpha({alpha!r})")
        layers = [layer for adapter in self._active for _, layer in walk(self.adapters[adapter])]
        for layer in layers:
            if not hasattr(layer, "set_alpha"):
                raise TypeError(f"{type(layer).__name__} has no set_alpha(alpha). Give your layer one.")
        for layer in layers:
            layer.set_alpha(alpha)

    def trainable_parameters(self):
        """List of the parameters that training moves: the active adapters' factors and their saved modules."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def count(self):
        """Return ``(trainable, total)`` numbers of parameters; the total counts the base and every adapter."""
        return sum(p.numel() for p in self.trainable_parameters()), count_numbers(self)

    def print_trainable_parameters(self):
        """Print how many parameters train, in how many layers, and which layers were left out and why."""
        print(report(self))

    def state_dict(self, *args, **kwargs):
        """As nn.Module's, with the base under ``base_model.``; refused under a merge, which would count twice."""
        self._refuse_while_merged("state_dict()", "model.base_model.state_dict() has the merged weights")
        return super().state_dict(*args, **kwargs)

    def _load_from_state_dict(self, *args, **kwargs):  # what load_state_dict calls, a containing module's too
        self._refuse_while_merged("load_state_dict()", "unmerging would put the weights before it back")
        super()._load_from_state_dict(*args, **kwargs)

    # Files, in PEFT's format: the work is done in peft_format/save_load.py.

    def save_adapter(self, folder, adapter_name="default"):
        """Write one adapter into ``folder`` as PEFT does; if it isn't called "default", in a sub-folder of its name.

        Where several processes have trained it together, all of them call this and process 0 writes.
        """
        check_known(adapter_name, self._adapters)
        check_in_place(self)
        save_load.save(self, folder, adapter_name)

    def load_adapter(self, folder, adapter_name):
        """Add the adapter in ``folder``, or in its sub-folder of that name, inactive until `set_adapter` chooses it."""
        self._refuse_while_held(f"load_adapter({str(folder)!r})")
        check_name(adapter_name, self.adapters)
        save_load.load(self, folder, adapter_name)

    @classmethod
    def from_pretrained(cls, base_model, folder, adapter_name="default"):
        """Lay the adapter in ``folder``, in PEFT's format, or in its sub-folder of that name, over ``base_model``."""
        check_base(base_model)
        check_name(adapter_name, nn.ModuleDict())
        return save_load.from_pretrained(cls, base_model, folder, adapter_name)

    def __setattr__(self, name, value):
        if name == "lora_layers":  # nn.Module would take it, and no hook would ever look there
            raise AttributeError(
                "lora_layers can't be replaced as a whole. Replace a layer, model.lora_layers[name] = layer, or use "
                "add_adapter(name, config)."
            )
        super().__setattr__(name, value)

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base_model":  # not built yet, as in unpickling
                raise
            if self.__dict__.get("_found") is not None and not (self.is_merged and self._has_no_copies()):
                refuse_writing_the_base(self.base_model, name)
            return getattr(unwrapped(self.base_model), name)

    def __getstate__(self):
        if self._rows is not None:
            raise RuntimeError("copying: the model is inside rows(). Leave that block first.")
        return {**self.__dict__, "_disabled": 0}  # a copy made inside disabled() is in no such block

    def train(self, mode=True):
        """Set training or evaluation mode; the frozen base's normalisations keep to their running statistics."""
        super().train(mode)
        if self._found is not None:
            self._found.hold_norms()
        return self

    def _has_no_copies(self):
        """Tell whether nothing of the active adapters is beside the base under a merge: no saved modules."""
        return not any(True for adapter in self._active for _ in walk(self.saved_modules[adapter]))

    def _refuse_while_merged(self, what, more=""):
        if self.is_merged:
            raise RuntimeError(
                f"{what}: the model is merged, and its weights hold the active update. unmerge() first"
                + (f"; {more}." if more else ".")
            )

    def _refuse_while_held(self, what):
        if self._found is None:
            raise RuntimeError(f"{what}: the overlay was removed. Lay a new one over the base: LoRAModel(base_model).")
        self._refuse_while_merged(what)
        if self._disabled:
            raise RuntimeError(f"{what}: the model is inside disabled(). Leave that block first; never await in it.")
        if self._rows is not None:
            raise RuntimeError(f"{what}: the model is inside rows(). Leave that block first; never await in it.")
