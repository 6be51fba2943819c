"""How much a network computes, counted from its config."""

from __future__ import annotations

from .config import CLIPConfig, Config, TextConfig, ViTConfig


def forward(config: Config) -> int:
    """Floating-point operations of a picture, a text, or both.

    Two for each multiplication with a weight, and of tokens with tokens. Norms, activations and softmax are not counted, as in
    the MFU of others.
    """
    match config:
        case CLIPConfig():
            return forward(config.image) + forward(config.text)
        case TextConfig():
            return 2 * (_blocks(config, config.context) + _pool(config, config.context) + config.width * config.classes)
        case ViTConfig():
            patches = config.grid[0] * config.grid[1]
            tokens = config.prefix + patches
            first = patches * 3 * config.patch**2 * config.width
            last = config.features * config.classes * (1 + config.distilled)
            last += config.width * (1 + (config.pool == "token_mean")) * config.representation
            seen = tokens if config.pool_prefix else patches
            return 2 * (first + _blocks(config, tokens) + _pool(config, seen) + last)


def _blocks(config: ViTConfig | TextConfig, tokens: int) -> int:
    weights = 4 * config.width**2 + (3 if config.gated else 2) * config.width * config.mlp
    return config.depth * (tokens * weights + 2 * tokens**2 * config.width)


def _pool(config: ViTConfig | TextConfig, tokens: int) -> int:
    """Attention pooling: keys and values of all tokens, one query."""
    if config.pool != "map":
        return 0
    one = 2 * config.width**2 + 2 * config.width * config.mlp + 2 * tokens * config.width
    return one + 2 * tokens * config.width**2
