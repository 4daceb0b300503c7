"""Images of users and subreddits as inputs."""

from __future__ import annotations

import torch

from graph.contents import Centres, ImageMeans, image_sums, own_image
from tests.graph.drawn import images

CENTRE = torch.tensor([0.0, 0.0, 2.0])


def unit_rows(*rows: list[float]) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(rows), dim=1)


def test_own_image_is_unit_and_orthogonal_to_the_centre() -> None:
    found = own_image(unit_rows([3.0, 4.0, 5.0], [1.0, 0.0, -2.0]), CENTRE)
    assert torch.allclose(found, torch.tensor([[0.6, 0.8, 0.0], [1.0, 0.0, 0.0]]), atol=1e-6)


def test_own_image_does_not_tell_how_many_were_averaged() -> None:
    # Noise averages out along with the number of images, so the mean nears the centre.
    few, many = unit_rows([0.6, 0.8, 1.0]), unit_rows([0.6, 0.8, 30.0])
    assert torch.allclose(own_image(few, CENTRE), own_image(many, CENTRE), atol=1e-5)
    assert torch.allclose(own_image(17 * few, CENTRE), own_image(few, CENTRE))


def test_no_image_stays_zero() -> None:
    found = own_image(torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), CENTRE)
    assert found.tolist() == [[0, 0, 0], [0, 1, 0]]
    without_centre = own_image(unit_rows([3.0, 4.0, 0.0]), torch.zeros(3))
    assert torch.allclose(without_centre, torch.tensor([[0.6, 0.8, 0.0]]))


DRAWN = images(unit_rows([1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]), [0, 0, 2], [0, 1, 1], 3, 2)


def test_sums_are_by_user_and_of_the_images_kept() -> None:
    users = torch.tensor([2, 0, 1])
    sums, counts = image_sums(DRAWN, users)
    assert sums.tolist() == [[0, 0, 1], [1, 1, 0], [0, 0, 0]]
    assert counts.tolist() == [1, 2, 0]
    kept, kept_counts = image_sums(DRAWN, users, torch.tensor([True, False, True]))
    assert kept.tolist() == [[0, 0, 1], [0, 1, 0], [0, 0, 0]]
    assert kept_counts.tolist() == [1, 1, 0]


def test_means_of_users_are_unit_and_users_without_have_none() -> None:
    means = ImageMeans.of(DRAWN)
    assert means.row_U.tolist() == [0, -1, 1]
    assert torch.allclose(means.mean_RD, unit_rows([1.0, 1.0, 0.0], [0.0, 0.0, 1.0]))
    image, count = means.centred(torch.tensor([1, 2, 0]), torch.tensor([1.0, 0.0, 0.0]))
    assert torch.allclose(image, torch.tensor([[0.0, 0, 0], [0, 0, 1], [0, 1, 0]]), atol=1e-6)
    assert count.tolist() == [0, 1, 2]


def test_the_centre_is_the_mean_of_all_images() -> None:
    centres = Centres.of(DRAWN)
    assert torch.allclose(centres.image_D, torch.full((3,), 1 / 3))
    assert not centres.text_D.any()
