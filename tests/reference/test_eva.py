"""Live against timm's own reading of BAAI's files, which renames their tensors and computes the rotary positions itself."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from timm.models.eva import Eva, checkpoint_filter_fn

import vitjax
from tests.recipe import uniform
from tests.reference.make_timm import run
from tests.test_eva import numbers, written
from tests.test_eva_files import masked
from tests.test_parity import assert_close, assert_stages
from vitjax import ViTConfig
from vitjax.converters import export
from vitjax.converters.eva import EVA
from vitjax.networks import hw
from vitjax.vit_variants import eva, eva02, eva02clip, eva02sub, evaclip

KINDS = (eva, eva02, eva02sub, evaclip, eva02clip)


def draw(seed: int) -> ViTConfig:
    """Any image tower that BAAI's code and timm's both have: not square, of any width of a head, of any grid before."""
    rng, kind = random.Random(seed), KINDS[seed % len(KINDS)]
    patch, heads = rng.choice([2, 4, 7]), rng.randint(1, 4)
    image = (rng.randint(2, 6) * patch, rng.randint(2, 6) * patch)
    more: dict[str, Any] = {"rotary_grid": rng.choice([None, 3, 14, 16])} if kind not in (eva, evaclip) else {}
    more |= rng.choice([{"pool": "mean", "norm": "after"}, {"pool": "token", "norm": "before"}])
    if kind is evaclip:
        more |= {"norm_post": True} if rng.random() < 0.5 else {"layer_scale": 0.1}
    width, mlp = heads * rng.choice([8, 12, 20]), rng.randint(9, 60)
    return kind(image, patch, width, rng.randint(1, 4), heads, mlp, 5, interpolation="cubic-pytorch", **more)


def timms(cfg: ViTConfig, file: Path) -> torch.nn.Module:
    mlp = (cfg.mlp + 0.5) / cfg.width  # timm cuts off what follows the point
    model = Eva(
        img_size=cfg.image, patch_size=cfg.patch, num_classes=cfg.classes, global_pool={"mean": "avg"}.get(cfg.pool, cfg.pool),
        embed_dim=cfg.width, depth=cfg.depth, num_heads=cfg.heads, qkv_fused=cfg.qkv_fused,
        mlp_ratio=mlp, swiglu_mlp=cfg.gated, scale_mlp=cfg.mlp_norm, scale_attn_inner=cfg.attn_norm,
        use_post_norm=cfg.norm_post, init_values=cfg.layer_scale, use_rot_pos_emb=cfg.rotary, ref_feat_shape=cfg.rotary_grid,
    )  # fmt: skip
    model.load_state_dict(checkpoint_filter_fn(load_file(file), model))
    return model.eval()


def state_of(cfg: ViTConfig) -> dict[str, np.ndarray]:
    """A file of such a network, tables and all."""
    theirs = {slot.theirs: uniform(slot.theirs, slot.shape) / np.float32(4) for slot in EVA.slots(cfg)}
    return theirs | EVA.tables(cfg)


@pytest.mark.parametrize("seed", range(25))
def test_any_file_as_timm_reads_it(seed, tmp_path):
    cfg = draw(seed)
    file = written(state_of(cfg), tmp_path)
    model, x = timms(cfg, file), uniform("input", (2, *hw(cfg.image), 3))
    ours = vitjax.load(file, config=cfg, dialect="eva")
    assert_stages(ours, {"input": x} | {f"stage/{name}": stage for name, stage in run(model, x).items()})
    export(ours.spec, ours.params, tmp_path / "out.safetensors", "eva")
    back, first = timms(cfg, tmp_path / "out.safetensors").state_dict(), model.state_dict()
    assert all(torch.equal(tensor, first[name]) for name, tensor in back.items())


@pytest.mark.parametrize("seed", range(3))
def test_masked_image_modelling_as_timm_reads_it(seed, tmp_path):
    cfg = KINDS[seed]((12, 20), 4, 24, 2, 2, 20, 0)
    file = written(masked(state_of(cfg), cfg.width), tmp_path)
    model = timms(cfg, file)
    found = vitjax.load(file, config=cfg, dialect="eva")
    assert found.spec.source.dialect == "eva" and numbers(file, cfg)
    x = uniform("input", (2, *hw(cfg.image), 3))
    with torch.no_grad():
        assert_close(found(x), model(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy())
