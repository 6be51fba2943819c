"""Live against timm: the softmax that its attention computes when it is not fused."""

import pytest
import torch
from timm.models._hub import save_for_hf

import vitjax
from tests.reference.make_timm import FAMILIES, TINY, build, pictures
from tests.test_parity import assert_close


@pytest.mark.parametrize("family", ["plain", "norms", "eva01", "eva02_packed", "eva02_clip", "gap_reg4"])
@torch.inference_mode()
def test_maps_are_timms(family, tmp_path):
    architecture, args = FAMILIES[family]
    model = build(architecture, **TINY | args)
    save_for_hf(model, tmp_path, safe_serialization=True)
    maps: list[torch.Tensor] = []
    for block in model.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda _module, _inputs, out: maps.append(out))
    x = pictures(*model.patch_embed.img_size)
    model(torch.from_numpy(x).permute(0, 3, 1, 2))
    assert_close(vitjax.load(tmp_path).attention_maps(x), torch.stack(maps).numpy())
