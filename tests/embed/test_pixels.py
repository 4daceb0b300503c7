import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform
from torch import Tensor

from embed.clip import Clip, load_clip
from embed.config import TINY_FOLDER
from embed.decode import Decoded, decode
from embed.pixels import to_pixels
from tests.embed.photographs import opened, photographs

MAX_PIXELS = 10**8


def reference(config: PreprocessCfg, body: bytes) -> Tensor:
    """What open_clip's own preprocessing makes of all pixels: float32 [3, height, width]."""
    transform = image_transform(
        config.size,
        is_train=False,
        mean=config.mean,
        std=config.std,
        resize_mode=config.resize_mode,
        interpolation=config.interpolation,
        fill_color=config.fill_color,
    )
    return torch.as_tensor(transform(opened(body)))


def normalised(pixels_YXC: Tensor, config: PreprocessCfg) -> Tensor:
    scaled_CYX = pixels_YXC.permute(2, 0, 1).float() / 255
    mean_C11, std_C11 = (torch.tensor(v)[:, None, None] for v in (config.mean, config.std))
    return (scaled_CYX - mean_C11) / std_C11


@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [224, (160, 224)])
def test_the_geometry_is_open_clips(
    resize_mode: str, interpolation: str, size: int | tuple[int, int]
) -> None:
    config = PreprocessCfg(size=size, resize_mode=resize_mode, interpolation=interpolation)
    for body in photographs():
        expected = reference(config, body)
        found = normalised(to_pixels(opened(body), config), config)
        assert found.shape == expected.shape
        # A level of 255 is 0.015 here; cutting at whole pixels moves edges by half of one.
        assert (found - expected).abs().mean() < 0.04


def both_ways(clip: Clip, config: PreprocessCfg) -> tuple[Tensor, Tensor]:
    """Unit vectors through our decode and through open_clip's of all pixels, [N, D] each."""
    ours = []
    for body in photographs():
        found = decode(body, MAX_PIXELS, clip.image_px)
        assert isinstance(found, Decoded)
        ours.append(clip.preprocess(found.picture))
    theirs_NCYX = torch.stack([reference(config, body) for body in photographs()])
    with torch.inference_mode():
        theirs_ND = clip._model.encode_image(theirs_NCYX)
    return torch.from_numpy(clip.encode_pixels(clip.stack(ours))), theirs_ND / theirs_ND.norm(
        dim=1, keepdim=True
    )


def assert_near(ours_ND: Tensor, theirs_ND: Tensor) -> None:
    cosine_NN = (ours_ND @ theirs_ND.T).numpy()
    own_N = cosine_NN.diagonal()
    assert own_N.min() > 0.99
    # Vectors of random weights lie near each other: the distance to the own one is far less.
    others_N = np.where(np.eye(len(own_N)), -1, cosine_NN).max(axis=1)
    assert ((1 - own_N) < 0.2 * (1 - others_N)).all()


def test_reduced_decoding_gives_the_vectors_of_all_pixels_with_the_shipped_model() -> None:
    model = open_clip.create_model(f"local-dir:{TINY_FOLDER}")
    assert_near(*both_ways(load_clip("tiny"), PreprocessCfg(**model.visual.preprocess_cfg)))


@pytest.mark.slow
def test_reduced_decoding_gives_the_vectors_of_all_pixels_with_a_vit(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-32")
    weights = tmp_path_factory.mktemp("vit") / "weights.pt"
    torch.save(model.state_dict(), weights)
    clip = load_clip("ViT-B-32", str(weights))
    assert_near(*both_ways(clip, PreprocessCfg(**model.visual.preprocess_cfg)))
