"""What is in an adapter: an X-ray of its folder, from the small factors alone."""

from dataclasses import dataclass
from pathlib import Path

from lora_teach.layer import SCALINGS, VARIANTS
from lora_teach.peft_format.folder import PREFIX, TOKEN_ROWS, WEIGHTS_FILE, find
from lora_teach.peft_format.lint import Departure, factors_of, lint
from lora_teach.peft_format.regexes import refuse_costly
from lora_teach.peft_format.save_load import read

import torch

LARGEST_RANK = 4096  # of a layer that is looked into

__all__ = ["Departure", "LayerXRay", "XRay", "lint", "xray"]


@dataclass(frozen=True)
class LayerXRay:
    """What one layer's update ``ΔW = scale · B A`` is like.

    Attributes:
        name: Dotted path of the module in the base.
        rank: Inner size r of the update.
        scale: The factor before ``B A``, dimensionless.
        norm: ``‖ΔW‖``, Frobenius: the root of the sum of its squared entries.
        singular_values: All r of ΔW, largest first.
        effective_rank: ``exp(−Σ p ln p)`` with ``p = σ / Σσ``, 1 to r (0 for an update of zeros): how many singular
            values there would be if they were equal. O. Roy and M. Vetterli, The effective rank, EUSIPCO 2007.
        relative: ``norm`` over that of the base's weight; None without a base, or where its weight is quantised.
        numbers: How many numbers the file holds for this layer.
    """

    name: str
    rank: int
    scale: float
    norm: float
    singular_values: tuple
    effective_rank: float
    relative: float | None
    numbers: int


@dataclass(frozen=True)
class XRay:
    """The X-ray of an adapter; printing it gives a readable report.

    Attributes:
        folder: Where it lies.
        variant: Its name for LoRAConfig, such as ``"lora"`` or ``"dora"``. ΔW of a DoRA adapter turns the weight; its
            magnitudes are not in these norms.
        layers: A `LayerXRay` for each adapted layer.
        saved: ``{key: shape}`` of the other tensors, such as those of ``modules_to_save``.
        numbers: How many numbers the file holds.
        bytes: Size of the file of weights.
        departures: What `lint` finds.
    """

    folder: Path
    variant: str
    layers: tuple
    saved: dict
    numbers: int
    bytes: int
    departures: tuple

    def __str__(self):
        layer_class = next(iter(VARIANTS[self.variant].values()))
        size = f"{len(self.layers)} layers, {self.numbers:,} numbers, {self.bytes:,} bytes"
        lines = [f"{layer_class.label} adapter in {self.folder}: {size}"]
        width = max([len(layer.name) for layer in self.layers] + [len("layer")])
        if self.layers:
            lines += ["", f"{'layer':{width}}  rank    scale     ‖ΔW‖  of ‖W‖  effective rank  largest singular values"]
        for layer in self.layers:
            share = "" if layer.relative is None else f"{layer.relative:.1%}"
            largest = "  ".join(f"{value:.3g}" for value in layer.singular_values[:3])
            lines.append(
                f"{layer.name:{width}}  {layer.rank:4}  {layer.scale:7.4g}  {layer.norm:7.4g}  {share:>6}  "
                f"{layer.effective_rank:14.2f}  {largest}"
            )
        if layer_class.note:
            lines += ["", layer_class.note]
        tokens = {key.removesuffix(TOKEN_ROWS): shape for key, shape in self.saved.items() if key.endswith(TOKEN_ROWS)}
        whole = {key: shape for key, shape in self.saved.items() if not key.endswith(TOKEN_ROWS)}
        for what, shapes in (("Saved whole", whole), ("Rows of tokens", tokens)):
            if shapes:
                lines += ["", f"{what}: " + ", ".join(f"{key} {tuple(shape)}" for key, shape in shapes.items())]
        lines.append("")
        lines += [f"- {departure}" for departure in self.departures] or ["Nothing departs from PEFT's format."]
        return "\n".join(lines)


def xray(folder, base=None):
    """Look into the adapter in ``folder``.

    Singular values are those of an r × r matrix that the QR decompositions of B and A leave, so no matrix of the
    layer's full size is ever made, and a base is needed only to say how large an update is beside its weight.

    Args:
        folder: An adapter in PEFT's format.
        base: The base model, or a LoRAModel over it; None leaves ``relative`` out.

    Returns:
        An `XRay`.

    Raises:
        FileNotFoundError, ValueError: The folder can't be read as an adapter (`lint` lists all that is wrong with it),
            or ``base`` has no module of a layer's name.
    """
    folder = find(folder)
    config, tensors, scales = read(folder)
    found = factors_of(tensors)
    refuse_costly(config, found, folder)
    if hasattr(type(base), "updates_for"):  # a LoRAModel
        base = base.base_model
    modules = None if base is None else dict(base.named_modules())
    layers, factors = [], {name: _matrices(name, parts) for name, parts in found.items()}
    spectra = _spectra(factors)
    for name, (A, _) in factors.items():
        rank = A.shape[0]
        rule = SCALINGS[config.scaling](config.alpha_of(name), rank)
        exact = scales.get(name, (rule,))[0]
        scale = exact if abs(exact - rule) <= 1e-6 * abs(rule) else rule
        sigma = abs(scale) * spectra[name]  # (≤ r,)
        norm = torch.linalg.vector_norm(sigma).item()
        layers.append(
            LayerXRay(
                name, rank, scale, norm, tuple(sigma.tolist()), _effective_rank(sigma),
                _relative(name, norm, modules), sum(part.numel() for part in found[name].values()),
            )
        )  # fmt: skip
    saved = {key.removeprefix(PREFIX): tensor.shape for key, tensor in tensors.items() if ".lora_" not in key}
    numbers = sum(tensor.numel() for tensor in tensors.values())
    size = (folder / WEIGHTS_FILE).stat().st_size
    return XRay(folder, config.variant, tuple(layers), saved, numbers, size, tuple(lint(folder)))


def _matrices(name, parts):
    """Return A ``(r, inputs)`` and B ``(outputs, r)``; a convolution's kernels are laid flat."""
    if not {"A", "B"} <= parts.keys():
        raise ValueError(f"{name}: one of its two factors is missing in the file.")
    A, B = parts["A"], parts["B"]
    shapes = f"A has shape {tuple(A.shape)} and B {tuple(B.shape)}"
    if min(A.dim(), B.dim()) < 2 or not A.is_floating_point() or not B.is_floating_point():
        raise ValueError(f"{name}: {shapes}, of {A.dtype} and {B.dtype}: these are no factors.")
    if not A.numel() or not B.numel():
        raise ValueError(f"{name}: {shapes}: one of them is empty.")
    A, B = (one.flatten(1).float() if one.dtype.itemsize == 1 else one.flatten(1) for one in (A, B))
    rank, groups = A.shape[0], A.shape[0] // B.shape[1]
    if rank > LARGEST_RANK:
        raise ValueError(f"{name}: rank {rank:,} is too large to be looked into. Up to {LARGEST_RANK:,} can be.")
    if groups > 1 and groups * B.shape[1] == rank and B.shape[0] % groups == 0:  # a grouped convolution
        B = torch.block_diag(*B.chunk(groups))  # (outputs, r)
    if rank != B.shape[1]:
        raise ValueError(f"{name}: {shapes}, which can't be multiplied.")
    return A, B


def _spectra(factors):
    """Return ``{name: singular values of B A}``, which are those of the small ``R_B R_Aᵀ``; equal shapes at once."""
    alike = {}
    for name, (A, B) in factors.items():
        alike.setdefault((A.shape, B.shape), []).append(name)
    spectra = {}
    for (A, B), names in alike.items():
        at_once = max(1, 2**22 // (A.numel() + B.numel()))
        for some in (names[start : start + at_once] for start in range(0, len(names), at_once)):
            As, Bs = (torch.stack(parts) for parts in zip(*(factors[name] for name in some), strict=True))
            small = _triangle(Bs) @ _triangle(As.mT).mT  # (layers, ≤ r, ≤ r)
            for name, finite in zip(some, small.isfinite().all(-1).all(-1).tolist(), strict=True):
                if not finite:
                    raise ValueError(
                        f"{name}: its factors hold nan or inf. Load an earlier checkpoint; the training blew up."
                    )
            spectra |= zip(some, torch.linalg.svdvals(small), strict=True)
    return spectra


def _effective_rank(sigma):
    total = sigma.sum()
    return torch.special.entr(sigma / total).sum().exp().item() if total > 0 else 0.0


def _triangle(tall):
    """Return R of the QR decompositions of ``tall (layers, n, r)``, in float64, from a block of rows at a time."""
    R = tall.new_empty(len(tall), 0, tall.shape[2], dtype=torch.float64)
    for rows in tall.split(2**16, dim=1):
        R = torch.linalg.qr(torch.cat([R, rows.double()], dim=1), mode="r").R  # (layers, ≤ r, r)
    return R


def _relative(name, norm, modules):
    if modules is None:
        return None
    if name not in modules or not hasattr(modules[name], "weight"):
        raise ValueError(f"the base has no layer {name!r}. Give the base that the adapter was made for, or None.")
    weight = modules[name].weight.detach()
    if weight.is_meta or not weight.is_floating_point() or weight.dtype.itemsize == 1:
        return None
    return norm / torch.linalg.vector_norm(weight, dtype=torch.float64).item()
