"""NameGPT: a GPT of about 350,000 parameters that writes names letter by letter.

Small enough to train on a CPU in a minute, and built like the big ones: pre-norm blocks (Radford et al. 2019), causal
attention with separate query, key, value and output projections, and an output head tied to the embedding. What a
letter is and how names become tokens is decided by ``lora_teach.datasets.names``.
"""

from lora_teach.datasets.names import ALPHABET, END, IGNORED, MAX_LETTERS, decode, encode
from lora_teach.datasets.shipped import shipped_file
from lora_teach.utils.evaluating import evaluating

import torch
import torch.nn.functional as F
from torch import nn

LAYER_GROUPS = {  # what a learner can choose to adapt: label -> target_modules
    "q and v": ["q_proj", "v_proj"],
    "attention": ["q_proj", "k_proj", "v_proj", "o_proj"],
    "MLP": ["up_proj", "down_proj"],
    "all": None,
}


class Attention(nn.Module):
    """Causal self-attention: every position reads itself and the ones before it."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.o_proj = nn.Linear(width, width)

    def forward(self, x):
        """Map (batch, seq, width) to (batch, seq, width)."""
        split = (*x.shape[:-1], self.heads, -1)  # batch, seq, heads, width / heads
        q = self.q_proj(x).view(split).transpose(1, 2)  # (batch, heads, seq, width / heads)
        k = self.k_proj(x).view(split).transpose(1, 2)  # the same
        v = self.v_proj(x).view(split).transpose(1, 2)  # the same
        read = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # the same
        return self.o_proj(read.transpose(1, 2).reshape(x.shape))  # (batch, seq, width)


class MLP(nn.Module):
    """Two layers that work on each position alone."""

    def __init__(self, width):
        super().__init__()
        self.up_proj = nn.Linear(width, 4 * width)
        self.down_proj = nn.Linear(4 * width, width)

    def forward(self, x):
        """Map (batch, seq, width) to (batch, seq, width)."""
        return self.down_proj(F.gelu(self.up_proj(x)))  # (batch, seq, width)


class Block(nn.Module):
    """Attention, then an MLP, each added to what comes in."""

    def __init__(self, width, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width)

    def forward(self, x):
        """Map (batch, seq, width) to (batch, seq, width)."""
        x = x + self.attention(self.norm1(x))  # (batch, seq, width)
        return x + self.mlp(self.norm2(x))  # (batch, seq, width)


class NameGPT(nn.Module):
    """Predicts the next letter of a name.

    Args:
        vocabulary: Number of tokens, the end mark included.
        width: Size of the vector that stands for a position.
        layers: Number of blocks.
        heads: Attention heads in a block; ``width`` is divisible by it.
        max_length: Longest sequence of tokens, the mark at the start included.
        seed: Decides the initial parameters; the global random state is left as it was.

    Shapes:
        forward: int64 (batch, seq) -> logits (batch, seq, vocabulary); those at position i depend on tokens 0 to i.
    """

    eos_token_id = ALPHABET.index(END)  # the token that ends a name, under the name that transformers' configs give it

    def __init__(self, vocabulary=len(ALPHABET), width=96, layers=3, heads=4, max_length=MAX_LETTERS + 1, seed=0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding = nn.Embedding(vocabulary, width)
            self.position = nn.Embedding(max_length, width)
            self.blocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])
            self.norm = nn.LayerNorm(width)
            self.head = nn.Linear(width, vocabulary, bias=False)
            self.apply(_init)
            # Ten times larger than the rest: letters that no English name has are pushed the same way by all that the
            # model learns, and those that start too close together end up as one and the same to an adapter.
            nn.init.normal_(self.embedding.weight, std=0.2)
        self.head.weight = self.embedding.weight  # tied: one matrix reads letters and writes them

    def forward(self, tokens):
        """Return the logits of the letter that follows each of ``tokens``.

        Raises:
            ValueError: More tokens than there are positions.
        """
        seq = tokens.shape[-1]
        if seq > self.position.num_embeddings:
            raise ValueError(
                f"a sequence of {seq} tokens is longer than the {self.position.num_embeddings} positions of this "
                f"model. Use names of at most {self.position.num_embeddings - 1} letters."
            )
        x = self.embedding(tokens) + self.position.weight[:seq]  # (batch, seq, width)
        for block in self.blocks:
            x = block(x)  # (batch, seq, width)
        return self.head(self.norm(x))  # (batch, seq, vocabulary)


def _init(module):
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def name_loss(logits, targets):
    """Return the mean cross entropy in nats a letter; padded targets (-100) don't count.

    Shapes:
        logits (batch, seq, vocabulary), targets (batch, seq).
    """
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=IGNORED)


def evaluate(model, names):
    """Return the loss of ``model`` on a list of names in nats a letter, ends included.

    The model may be a NameGPT or a LoRAModel around one. It is evaluated in eval mode, without gradients, and every
    module's own mode is restored.
    """
    by_length = sorted(names, key=len)  # names of one length need no padding, which would be computed for nothing
    total, letters, device = 0.0, 0, _device(model)
    with evaluating(model):
        for start in range(0, len(by_length), 128):
            inputs, targets = (side.to(device) for side in encode(by_length[start : start + 128]))  # (batch, seq) each
            count = (targets != IGNORED).sum().item()
            total += name_loss(model(inputs), targets).item() * count
            letters += count
    return total / letters


def gumbel_noise(count, seed=0):
    """Return the noise that ``sample_names`` turns into ``count`` names: a tensor (count, MAX_LETTERS, vocabulary).

    The largest of ``logits + noise`` is a fair draw from softmax(logits) (the Gumbel-max trick). The noise of a name
    doesn't depend on ``count``.
    """
    draws = [torch.Generator().manual_seed(seed * 10_007 + name) for name in range(count)]
    shape = (MAX_LETTERS, len(ALPHABET))
    uniform = torch.stack([torch.rand(shape, generator=draw) for draw in draws])  # (count, MAX_LETTERS, vocabulary)
    noise = -torch.log(-torch.log(uniform.clamp(1e-9, 1 - 1e-7)))
    noise[:, 0, 0] = -torch.inf  # no name is empty
    return noise


def sample_names(model, noise):
    """Write one name for each row of ``noise``, letter by letter.

    With the same noise the same model writes the same names, and a model whose weights moved a little changes a
    letter here and there: the names morph instead of flickering.

    Args:
        model: A NameGPT or a LoRAModel around one; evaluated in eval mode, and its mode is restored.
        noise: From ``gumbel_noise``; zeros instead write the likeliest letter every time.

    Returns:
        A list of names of 1 to MAX_LETTERS letters.
    """
    count, longest, _ = noise.shape
    noise = noise.to(_device(model))
    tokens = torch.zeros(count, longest + 1, dtype=torch.long, device=noise.device)  # marks, the first is the start
    growing = torch.arange(count, device=noise.device)  # the names that are written on
    ended = torch.zeros(count, dtype=torch.bool, device=noise.device)
    in_rows = getattr(model, "open_rows", None) is not None
    with evaluating(model):
        for position in range(longest):
            logits = model(tokens[growing, : position + 1])[:, -1]  # (growing, vocabulary)
            letter = (logits + noise[growing, position]).argmax(-1)  # (growing,)
            tokens[growing, position + 1] = letter
            ended[growing] |= letter == 0
            if ended.all():
                break
            if not in_rows:  # in a LoRAModel's rows() each name has a row to the end; what follows its mark is cut
                growing = growing[letter != 0]
    return decode(tokens[:, 1:])


def _device(model):
    return next(model.parameters()).device


def load_name_gpt():
    """Return a NameGPT that was trained on English names, in eval mode; every call returns a new one.

    Raises:
        FileNotFoundError: ``data/name_gpt.safetensors`` is missing; the message gives the command that makes it.
    """
    from safetensors.torch import load_file

    model = NameGPT()
    tensors = load_file(shipped_file("name_gpt.safetensors", "python data/make_bases.py"))
    model.load_state_dict(tensors | {"head.weight": tensors["embedding.weight"]})
    return model.eval()
