import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embed.clip import clip_identity, load_clip, unit_rows
from embed.config import TINY_FOLDER
from embed.tiny_clip.package import MERGES, SHIPPED
from embed.tiny_clip.pictures import FACETS, Picture, draw
from pipelines.contract import ConfigError, MissingInputError

PICTURES = [
    draw(
        Picture(palette="jewel", subject=subject, treatment="flat", composition="centered"),
        np.random.default_rng(index),
        160,
    )
    for index, subject in enumerate(FACETS["subject"])
]


def test_tiny_is_the_shipped_folder_with_unit_float32_vectors() -> None:
    clip = load_clip("tiny")
    assert TINY_FOLDER == SHIPPED
    image_ND, text_ND = clip.encode_images(PICTURES), clip.encode_texts(["a cat", "waves"])
    assert image_ND.dtype == text_ND.dtype == np.float32
    assert (image_ND.shape, text_ND.shape) == ((10, clip.dim), (2, clip.dim))
    np.testing.assert_allclose(np.linalg.norm(image_ND, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(text_ND, axis=1), 1, atol=1e-6)


def test_texts_and_pictures_share_a_space() -> None:
    clip = load_clip("tiny")
    texts = [f"a picture of a {subject}" for subject in FACETS["subject"]]
    score_NN = clip.encode_images(PICTURES) @ clip.encode_texts(texts).T
    assert (score_NN.argmax(axis=1) == np.arange(10)).mean() >= 0.9


def test_identity_names_the_weights_and_a_copy_has_the_same(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED, tmp_path / "copy")
    shipped, copy = clip_identity("tiny"), clip_identity(f"local-dir:{tmp_path / 'copy'}")
    assert len(shipped.weights_sha256) == 64
    assert shipped.weights_sha256 == copy.weights_sha256
    assert shipped.metadata() == {
        "clip_model": "tiny",
        "clip_pretrained": "",
        "clip_weights": shipped.weights_sha256,
    }
    assert load_clip("tiny").identity == shipped


def test_half_precision_changes_little() -> None:
    whole, half = (load_clip("tiny", precision=p).encode_images(PICTURES) for p in ("fp32", "bf16"))
    assert (whole * half).sum(axis=1).min() > 0.995


def test_a_model_of_open_clips_own_loads_from_a_weights_file(tmp_path: Path) -> None:
    import open_clip

    torch.manual_seed(0)
    weights = tmp_path / "mobileclip.pt"
    torch.save(open_clip.create_model("ViT-S-32-alt").state_dict(), weights)
    clip = load_clip("ViT-S-32-alt", str(weights))
    assert clip.encode_images(PICTURES[:2]).shape == (2, 256)
    assert clip.encode_texts(["a dog"]).shape == (1, 256)
    assert clip.image_px == 224


def test_nothing_to_encode_gives_no_rows() -> None:
    clip = load_clip("tiny")
    assert clip.encode_images([]).shape == clip.encode_texts([]).shape == (0, clip.dim)


def test_a_text_beyond_the_context_is_cut() -> None:
    clip = load_clip("tiny")
    assert np.isfinite(clip.encode_texts(["neon cat " * 500, "", "\u0000\U0001f600"])).all()


@pytest.mark.parametrize(
    ("model", "pretrained", "told"),
    [
        ("ViT-B32", "openai", "ViT-B-32"),
        ("ViT-B-32", "laion2b", "laion2b_s34b_b79k"),
        ("ViT-B-32", "", "openai"),
        ("tinny", "", "tiny"),
    ],
)
def test_an_unknown_model_or_tag_is_answered_with_those_there_are(
    model: str, pretrained: str, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        load_clip(model, pretrained)


def test_a_missing_folder_config_or_weights_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="no folder"):
        load_clip(f"local-dir:{tmp_path / 'none'}")
    with pytest.raises(MissingInputError, match=r"no open_clip_config\.json"):
        load_clip(f"local-dir:{tmp_path}")
    shutil.copy(SHIPPED / "open_clip_config.json", tmp_path)
    with pytest.raises(MissingInputError, match="no weights"):
        load_clip(f"local-dir:{tmp_path}")


def test_a_folder_without_its_merges_is_refused_and_not_given_ids_out_of_range(
    tmp_path: Path,
) -> None:
    shutil.copytree(SHIPPED, tmp_path / "copy")
    (tmp_path / "copy" / MERGES).unlink()
    with pytest.raises(ConfigError, match="49408 ids"):
        load_clip(f"local-dir:{tmp_path / 'copy'}")


def test_a_config_that_is_no_config_is_refused(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED, tmp_path / "copy")
    (tmp_path / "copy" / "open_clip_config.json").write_text(json.dumps({"model": 1}))
    with pytest.raises(ValueError, match="model_cfg"):
        load_clip(f"local-dir:{tmp_path / 'copy'}")


@pytest.mark.parametrize(("name", "value"), [("precision", "int8"), ("device", "cuda")])
def test_a_wrong_precision_or_absent_device_is_refused_by_name(name: str, value: Any) -> None:
    if name == "device" and torch.cuda.is_available():
        pytest.skip("this machine has the device")
    with pytest.raises(ConfigError, match=name):
        load_clip("tiny", **{name: value})


def test_unit_rows_leaves_a_row_of_zeros() -> None:
    rows = unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(rows, np.array([[0.6, 0.8], [0.0, 0.0]]), rtol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.999), ("fp16", 0.995)])
def test_a_gpu_gives_the_same_vectors(precision: str, least: float) -> None:
    here = load_clip("tiny").encode_images(PICTURES)
    there = load_clip("tiny", device="cuda", precision=precision).encode_images(PICTURES)
    assert (here * there).sum(axis=1).min() > least
