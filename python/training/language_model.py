"""A character-level language model, and Python's own reference manual as its text."""

import pydoc_data.topics

import torch
from torch.nn import functional


def text():
    """The topics of help(), in the order of their names: English and code, 460,000 characters or so."""
    topics = pydoc_data.topics.topics
    return "\n".join(topics[name] for name in sorted(topics))


class Characters:
    """The text as numbers; the last twentieth of it is for evaluation."""

    def __init__(self, words):
        self.alphabet = sorted(set(words))
        index = {character: i for i, character in enumerate(self.alphabet)}
        numbers = torch.tensor([index[character] for character in words])
        cut = len(numbers) * 19 // 20
        self.training, self.evaluation = numbers[:cut], numbers[cut:]

    @staticmethod
    def batch(numbers, rows, length, generator):
        """Inputs, and the character after each."""
        starts = torch.randint(len(numbers) - length, (rows,), generator=generator).tolist()
        windows = torch.stack([numbers[start:start + length + 1] for start in starts])
        return windows[:, :-1], windows[:, 1:]


class Block(torch.nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.qkv, self.proj = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
        self.up, self.down = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)

    def forward(self, x):
        x = x + self.proj(self.attended(self.qkv(self.attention_norm(x))))
        return x + self.down(functional.gelu(self.up(self.mlp_norm(x))))

    def attended(self, qkv):
        rows, length, width = qkv.shape
        q, k, v = qkv.view(rows, length, 3, self.heads, width // 3 // self.heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return mixed.transpose(1, 2).reshape(rows, length, -1)


class LanguageModel(torch.nn.Module):
    def __init__(self, characters, width=128, blocks=2, heads=4, length=64):
        super().__init__()
        self.embed, self.position = torch.nn.Embedding(characters, width), torch.nn.Embedding(length, width)
        self.blocks = torch.nn.ModuleList(Block(width, heads) for _ in range(blocks))
        self.norm, self.head = torch.nn.LayerNorm(width), torch.nn.Linear(width, characters, bias=False)

    def forward(self, tokens):
        x = self.embed(tokens) + self.position.weight[:tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    def loss(self, inputs, targets):
        return functional.cross_entropy(self(inputs).flatten(0, 1), targets.flatten())
