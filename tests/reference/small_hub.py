"""Published names that stand for small networks, in the real libraries and in ours: what the migration pages are run on.

A hub that this machine plays hands out the files, each written by the library that publishes it, every parameter noised. The
libraries, and ours, download them and read them as ever.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tests.loopback import Hub, Repository, serve

TIMM = (
    "vit_base_patch16_384.augreg_in21k_ft_in1k", "vit_large_patch14_clip_224.openai_ft_in12k_in1k",
    "eva_giant_patch14_224.clip_ft_in1k",
)  # fmt: skip
BIRDER, TAG = "vit_l14_pn_quick_gelu", "openai-clip"
HF_VIT, HF_CLIP = "google/vit-large-patch16-224", "openai/clip-vit-large-patch14"
OPEN_CLIP, LAION = "ViT-B-32", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
# Of every tower; pictures, patches, classes and vocabularies stay as published.
WIDTH, DEPTH, HEADS, MLP, SPACE = 48, 4, 3, 96, 32
SMALL = {"width": WIDTH, "depth": DEPTH, "heads": HEADS, "mlp": MLP}


@contextlib.contextmanager
def small_hub(home: Path) -> Iterator[Hub]:
    """Serve the small networks to this process, which has imported no library yet: they read the environment then."""
    with serve() as hub:
        os.environ |= {"HF_ENDPOINT": hub.address, "HF_HOME": str(home / "hf"), "HF_TOKEN": "", "HF_HUB_DISABLE_XET": "1"}
        os.environ |= {"VITJAX_CACHE": str(home / "vitjax"), "MODELS_DIR": str(home / "birder")}
        import tests.reference  # noqa: F401  torchvision comes after it

        for publish in (_timm, _birder, _huggingface, _open_clip):
            publish(hub)
        yield hub


def _timm(hub: Hub) -> None:
    import timm
    from timm.models import _registry
    from timm.models._hub import save_for_hf

    from vitjax import variants

    sizes = {"embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS, "mlp_ratio": MLP / WIDTH}
    for name in TIMM:
        arch = name.partition(".")[0]
        _registry._model_entrypoints[arch] = partial(_registry._model_entrypoints[arch], **sizes)
        variants.VARIANTS[arch] = replace(variants.VARIANTS[arch], **SMALL)
        model = _noised(timm.create_model(name))
        hub.repositories[f"timm/{name}"] = _saved(partial(save_for_hf, model, safe_serialization=True))


def _birder(hub: Hub) -> None:
    import torch
    from birder.model_registry import registry

    from tests.reference.make_birder import beside
    from vitjax import variants

    name, net, sizes = f"{BIRDER}_{TAG}", registry.registered_configs[BIRDER], {"head_bias": False}
    net.config |= {"num_layers": DEPTH, "num_heads": HEADS, "hidden_dim": WIDTH, "mlp_dim": MLP}
    model = _noised(registry.net_factory(BIRDER, SPACE, config=sizes, size=(224, 224)))
    said = beside(model, sizes) | {"class_to_idx": {}}
    files = _saved(lambda folder: torch.save({"state": model.state_dict()} | said, folder / f"{name}.pt"))
    hub.repositories[f"birder-project/{name}"] = files
    sha256 = hashlib.sha256(files.files[f"{name}.pt"]).hexdigest()
    published = registry.get_pretrained_metadata(name)
    published["url"] = f"{hub.address}/birder-project/{name}/resolve/main"
    published["formats"]["pt"]["sha256"] = sha256
    variants.VARIANTS[BIRDER] = replace(variants.VARIANTS[BIRDER], **SMALL)
    variants.WEIGHTS[name] = replace(variants.WEIGHTS[name], classes=SPACE, sha256=sha256)


def _huggingface(hub: Hub) -> None:
    import open_clip.tokenizer
    import transformers

    from vitjax.tokenizer import vocabulary

    tower = {"hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS, "intermediate_size": MLP}
    names = dict(enumerate(f"class {i}" for i in range(1000)))
    config = transformers.ViTConfig(
        **tower, image_size=224, patch_size=16, id2label=names, label2id={b: a for a, b in names.items()}
    )
    processor = transformers.ViTImageProcessor(size={"height": 224, "width": 224}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    vit = _noised(transformers.ViTForImageClassification(config))
    hub.repositories[HF_VIT] = _saved(vit.save_pretrained, processor.save_pretrained)

    config = transformers.CLIPConfig(
        text_config=tower | {"bos_token_id": 49406, "eos_token_id": 49407},
        vision_config=tower | {"patch_size": 14},
        projection_dim=SPACE,
    )
    clip = _noised(transformers.CLIPModel(config))
    model = json.loads(vocabulary(open_clip.tokenizer.default_bpe()))["model"]
    tokenizer = transformers.CLIPTokenizer(model["vocab"], [tuple(merge) for merge in model["merges"]], model_max_length=77)
    processor = transformers.CLIPProcessor(transformers.CLIPImageProcessor(), tokenizer)
    hub.repositories[HF_CLIP] = _saved(clip.save_pretrained, processor.save_pretrained)


def _open_clip(hub: Hub) -> None:
    import open_clip
    from open_clip.push_to_hf_hub import save_for_hf

    from vitjax import variants

    config = open_clip.get_model_config(OPEN_CLIP)
    config["embed_dim"] = SPACE
    config["vision_cfg"] |= {"width": WIDTH, "layers": DEPTH, "head_width": WIDTH // HEADS, "mlp_ratio": MLP / WIDTH}
    config["text_cfg"] |= {"width": WIDTH, "layers": DEPTH, "heads": HEADS, "mlp_ratio": MLP / WIDTH}
    with tempfile.TemporaryDirectory() as folder:
        (file := Path(folder) / f"{OPEN_CLIP}.json").write_text(json.dumps(config))
        open_clip.add_model_config(file)  # in the place of the published one
    model = _noised(open_clip.create_model(OPEN_CLIP))
    tokenizer = open_clip.tokenizer.HFTokenizer(HF_CLIP)  # as its own push_to_hf_hub
    hub.repositories[LAION] = _saved(lambda folder: save_for_hf(model, tokenizer, config, folder, safe_serialization=True))
    arch = variants.OPEN_CLIP[OPEN_CLIP]
    image, text = (
        replace(tower, **SMALL, classes=SPACE) for tower in (variants.VARIANTS[arch].image, variants.VARIANTS[arch].text)
    )
    variants.VARIANTS[arch] = replace(variants.VARIANTS[arch], image=image, text=text)


def _noised(model: Any) -> Any:
    """A network of PyTorch's, all of its parameters by recipe but a CLIP's temperature."""
    import torch

    from tests.recipe import weight

    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.ndim:
                parameter.copy_(torch.from_numpy(weight(key, tuple(parameter.shape))))
    return model.eval()


def _saved(*savers: Callable[[Path], Any]) -> Repository:
    """What a library's own ways of saving put into a folder."""
    with tempfile.TemporaryDirectory() as folder:
        for save in savers:
            save(Path(folder))
        return Repository({path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()})
