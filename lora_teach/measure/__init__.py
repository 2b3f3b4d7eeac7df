"""Numbers in, numbers out: what a matrix, an adapter or a run is like. No drawing, no widgets.

The files that need a base model are imported by name: ``from lora_teach.measure import tuning``.
"""

from lora_teach.measure.spectrum import energy_kept, energy_lost, factors, numerical_rank, spectrum, truncate

__all__ = ["energy_kept", "energy_lost", "factors", "numerical_rank", "spectrum", "truncate"]
