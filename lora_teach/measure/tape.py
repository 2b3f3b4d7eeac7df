"""What each operation of a forward pass keeps for the backward pass, and how much it multiplies, from shapes alone.

A `Tape` is led through a model by `walks`; `memory` reads from it what is held, `flops` what is computed. Nothing runs
and no tensor is made. An operation keeps what its derivative is written in, and only if somebody needs that derivative:

    linear layer    y = x W        dL/dx = dy Wᵀ needs W, which is there anyway; dL/dW = xᵀ dy needs the input x
    LoRA beside it  h = x A, h B   dL/dA needs x too, dL/dB needs h: rank numbers a token
    norm            its input, one or two statistics a token; the normalised input if its own weight trains
    attention       q, k, v, the output, and one number a row of the softmax; never the (seq, seq) matrix
    SiLU, GELU      its input; ReLU its output; a product of two keeps both
    cross entropy   the log-probabilities of the whole vocabulary, for every token
"""

from dataclasses import dataclass, field

INDEX = 8  # bytes of a token's number, int64
FLOAT = 4  # bytes of a float32, in which norms and the softmax of the loss are computed


@dataclass(eq=False)
class Value:
    """A tensor of the forward pass that is never made.

    Args:
        width: Numbers for each token.
        itemsize: Bytes of a number.
        gradient: Whether the backward pass needs the loss's gradient with respect to it.
    """

    width: int
    itemsize: int
    gradient: bool


@dataclass(frozen=True)
class Product:
    """FLOPs of a matrix product, and of the two products by which the backward pass follows it."""

    forward: int
    to_inputs: int
    to_weights: int


@dataclass
class Part:
    """A stretch of the model: one block, which checkpointing can forget, or what lies before, between or after."""

    entry: Value | None  # what comes into a block; None where the part is no block
    kept: dict = field(default_factory=dict)  # a Value, or a name -> (bytes, kind)
    products: list = field(default_factory=list)
    needed: int = 0  # how many of the products come before the last tensor that is kept: a recomputation does these


class Tape:
    """Notes what a step keeps and multiplies while `walks` leads it through a model.

    Args:
        batch_size: Sequences.
        seq_len: Tokens in each.
        itemsize: Bytes of a number in the model's dtype.
        ranks: ``{layer: rank}`` of the adapted linear layers; None for full fine-tuning, where every weight trains.
        adapter_itemsize: Bytes of a number of A and B.
        padded: Whether an attention mask hides padding.
    """

    def __init__(self, batch_size, seq_len, itemsize, ranks=None, adapter_itemsize=FLOAT, padded=False):
        self.batch, self.seq, self.tokens, self.itemsize = batch_size, seq_len, batch_size * seq_len, itemsize
        self.trains, self.ranks, self.adapter_itemsize = ranks is None, ranks or {}, adapter_itemsize
        self.padded, self.parts, self.met = padded, [Part(None)], set()
        self.passing = 0  # bytes that the loss's backward makes for a moment

    def enter_block(self, x):
        """Begin a block, whose input is ``x``."""
        self.parts.append(Part(x))

    def leave_blocks(self):
        """Begin what comes after the blocks."""
        self.parts.append(Part(None))

    # What is noted.

    def keep(self, kind, what, size=None):
        """Note a tensor that is kept, once however many operations keep it: ``size`` bytes, or a Value's own."""
        size = self.tokens * what.width * what.itemsize if size is None else size
        self.parts[-1].kept[what] = (size, kind)
        self.needs()

    def needs(self):
        """Note that an operation keeps something, if only a weight: a recomputation comes at least this far."""
        self.parts[-1].needed = len(self.parts[-1].products)

    def multiply(self, forward, to_inputs, to_weights):
        """Note a matrix product of ``forward`` FLOPs; the backward's two cost as much each, if they are needed."""
        product = Product(forward, forward * int(to_inputs), forward * int(to_weights))
        self.parts[-1].products.append(product)

    # The operations: each takes and returns Values.

    def embedding(self, width, of="tokens"):
        """Look up one row for each token; the gradient of the table needs to know which."""
        if self.trains:
            self.keep("tokens", f"indices of {of}", self.tokens * INDEX)
        return Value(width, self.itemsize, self.trains)

    def linear(self, x, layer):
        """Multiply by ``layer.weight``; with an adapter beside it, add (x A) B."""
        self.met.add(layer)
        rank, inner, outer = self.ranks.get(layer, 0), layer.in_features, layer.out_features
        if self.trains:
            self.keep("inputs of linear layers", x)
        if x.gradient:
            self.needs()  # the weight
        self.multiply(2 * self.tokens * inner * outer, x.gradient, self.trains)
        if rank:
            if self.adapter_itemsize != x.itemsize:  # A and B are cast to the input's dtype, and the casts are kept
                self.keep("adapters", (layer, "B"), rank * outer * x.itemsize)
                if x.gradient:
                    self.keep("adapters", (layer, "A"), inner * rank * x.itemsize)
            self.keep("inputs of linear layers", x)
            self.multiply(2 * self.tokens * inner * rank, x.gradient, True)
            self.keep("adapters", Value(rank, x.itemsize, True))
            self.multiply(2 * self.tokens * rank * outer, True, True)
        return Value(outer, x.itemsize, x.gradient or self.trains or rank > 0)

    def layer_norm(self, x):
        """``nn.LayerNorm``: keeps its input, and mean and deviation of each token."""
        if x.gradient or self.trains:
            self.keep("norms", x)
            self.keep("norms", Value(2, x.itemsize, False))
        return Value(x.width, x.itemsize, x.gradient or self.trains)

    def rms_norm(self, x):
        """Llama's RMSNorm, in float32: keeps its input as float32, one number a token, and x / rms for its weight."""
        if x.gradient:
            self.keep("norms", x if x.itemsize == FLOAT else Value(x.width, FLOAT, True))
            self.keep("norms", Value(1, FLOAT, False))
        if self.trains:
            self.keep("norms", Value(x.width, x.itemsize, True))
        return Value(x.width, x.itemsize, x.gradient or self.trains)

    def rotate(self, x, head):
        """Rotary position embedding: keeps the cosines and sines, which all blocks share, and returns a new tensor."""
        if x.gradient:
            self.keep("attention", "cosines and sines", 2 * self.seq * head * x.itemsize)
        return Value(x.width, x.itemsize, x.gradient)

    def attention(self, q, k, v, heads):
        """Fused causal attention: keeps q, k, v, its output and the logarithm of each softmax's denominator.

        Padding costs twice: every block keeps a mask of its own, ``seq²`` numbers for each sequence; and the keys and
        values that several heads share are copied for each of them.

        Each of the products q kᵀ and (softmax) v, and of the four in the backward, counts in full: causal or not.
        """
        gradient = q.gradient or k.gradient or v.gradient
        out = Value(q.width, q.itemsize, gradient)
        if gradient:
            shared = self.padded and k.width < q.width
            copies = [Value(q.width, q.itemsize, True), Value(q.width, q.itemsize, True)] if shared else [k, v]
            for value in (q, *copies, out, Value(heads, FLOAT, False)):
                self.keep("attention", value)
            if self.padded:
                self.keep("attention", object(), self.tokens * self.seq * q.itemsize)
        size = 2 * self.tokens * self.seq * q.width
        parts = Product(size, size * (q.gradient + k.gradient), 0), Product(size, size * (v.gradient + 0), 0)
        self.parts[-1].products += parts
        if q.gradient or k.gradient:  # the gradient of the softmax, from which both of theirs are made
            self.parts[-1].products.append(Product(0, size, 0))
        return out

    def gelu(self, x):
        """GELU keeps its input, and so does SiLU."""
        if x.gradient:
            self.keep("activation functions", x)
        return Value(x.width, x.itemsize, x.gradient)

    silu = gelu

    def relu(self, x):
        """ReLU keeps its output, which the layer after it may keep too."""
        out = Value(x.width, x.itemsize, x.gradient)
        if x.gradient:
            self.keep("activation functions", out)
        return out

    def times(self, left, right):
        """Multiply number by number: the gradient of each side needs the other."""
        if right.gradient:
            self.keep("activation functions", left)
        if left.gradient:
            self.keep("activation functions", right)
        return Value(left.width, left.itemsize, left.gradient or right.gradient)

    def add(self, left, right):
        """Add: keeps nothing."""
        return Value(left.width, left.itemsize, left.gradient or right.gradient)

    def cross_entropy(self, logits, itemsize):
        """Keep the log-probabilities of the whole vocabulary, the targets, and the number of targets.

        The backward begins with the gradients of the log-probabilities and of the logits: two more of that size.
        """
        self.keep("log-probabilities", Value(logits.width, itemsize, True))
        self.passing = 2 * self.tokens * logits.width * itemsize
        self.keep("tokens", "targets", self.tokens * INDEX)
        self.keep("tokens", "count", itemsize)

    # What was noted.

    def held(self, checkpointing=False):
        """Return ``{what: (bytes, kind)}`` that is held when it is most.

        That is at the end of the forward. With checkpointing a block keeps its input only, and is computed once more
        when the backward comes to it; by then the loss has let go of its own. The larger of the two moments counts.
        """
        return max(self._moments(checkpointing), key=_size)

    def peak(self, checkpointing=False):
        """Return the bytes of `held` with what the loss's backward makes for a moment, when that is most."""
        *blocks, end_of_forward = map(_size, self._moments(checkpointing))
        return max([end_of_forward + self.passing, *blocks])

    def _moments(self, checkpointing):
        """What is held when the backward comes to each block that is computed again, and, last, when it begins."""
        moments, so_far = [], {}
        for part in self.parts:
            if part.entry is None or not checkpointing:
                so_far |= part.kept
            else:
                so_far[part.entry] = (self.tokens * part.entry.width * part.entry.itemsize, "inputs of blocks")
                moments.append(part.kept | so_far)
        return [*moments, so_far]


def _size(held):
    return sum(size for size, _ in held.values())
