"""Checks of notebook 02: count a layer, and the update as a weight."""

from lora_teach.exercises.check import Draw, attempt, cases, check, compare


@check
def check_count_layer(count_layer):
    """Check a function that counts the numbers in one LoRALayer."""
    for in_features, out_features, rank in cases([(96, 384, 4), (768, 768, 8), (10, 3, 1), *_sizes(3, 10_000)]):
        both = rank * (in_features + out_features)
        mistakes = [
            (rank * in_features, "That is A alone: B has rank * out_features numbers more."),
            (rank * out_features, "That is B alone: A has in_features * rank numbers more."),
            (both + out_features, "The bias belongs to the frozen layer: an adapter has none."),
            (rank * in_features * out_features, "A and B lie side by side: their sizes add up."),
            (in_features * out_features, "That is the frozen weight, which does not train."),
            (in_features * out_features + both, "The frozen weight does not train: count A and B alone."),
            (both + 1, "The scaling is a fixed number here: it does not train."),
        ]
        got = attempt(count_layer, in_features=in_features, out_features=out_features, rank=rank)
        compare(got, both, mistakes)
    return "r · (in + out), for square layers and for others."


@check
def check_delta_weight(delta_weight):
    """Check a function that returns what to add to ``nn.Linear.weight`` in a LoRALayer's place."""
    draw = Draw()
    for (in_features, out_features, rank), scaling in cases(
        list(zip([(6, 4, 2), (6, 6, 2), *_sizes(3, 12)], (3.0, 0.5, 1.0, 2.5, -0.75), strict=True))
    ):
        A, B = draw.matrix(in_features, rank), draw.matrix(rank, out_features)
        turned = "nn.Linear keeps its weight as (out_features, in_features): turn A·B with .T."
        mistakes = [
            (scaling * A @ B, f"{turned} A square layer can't tell."),
            ((A @ B).T, "The scaling is missing: forward multiplies by it too."),
            (A @ B, f"The scaling is missing. {turned}"),
            (scaling**2 * (A @ B).T, "The scaling came in twice."),
            (scaling / rank * (A @ B).T, "The scaling is α/r already: the rank divides it once, not twice."),
            (3.0 * (A @ B).T, "The scaling is another number now: use the argument."),
        ]
        compare(attempt(delta_weight, A=A, B=B, scaling=scaling), scaling * (A @ B).T, mistakes)
    return "x @ delta_weight.T is the layer's update, for square layers and for others."


def _sizes(count, high):
    """Return so many random (in_features, out_features, rank), of which the first two differ."""
    draw = Draw(1)
    return [(*draw.sizes(2, 5, high), *draw.sizes(1, 1, 5)) for _ in range(count)]
