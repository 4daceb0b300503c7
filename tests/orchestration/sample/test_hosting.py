from typing import Any

import pytest

from orchestration.sample.activity import Form, Post
from orchestration.sample.hosting import canonical_urls, image_url, link_fields, text_with_images
from tests.orchestration.sample.worlds import IMAGES, image_post


def _fields(form: Form, images: int = 1) -> dict[str, Any]:
    return link_fields(
        9, image_post(form, images), "abc", "https://www.reddit.com/r/x/comments/abc/y/"
    )


def _source(fields: dict[str, Any]) -> str:
    source: str = fields["preview"]["images"][0]["source"]["url"]
    return source


@pytest.mark.parametrize("form", [Form.REDDIT, Form.IMGUR, Form.ELSEWHERE])
def test_direct_links_are_the_canonical_url(form: Form) -> None:
    assert _fields(form)["url"] == image_url(9, IMAGES[0], form)


def test_pages_lead_to_the_image_by_its_id() -> None:
    name = image_url(9, IMAGES[0], Form.IMGUR).removeprefix("https://i.imgur.com/")[:-4]
    assert len(name) == 7
    assert _fields(Form.IMGUR_PAGE)["url"] == f"https://imgur.com/{name}"
    assert _fields(Form.GIFV)["url"] == f"https://i.imgur.com/{name}.gifv"


@pytest.mark.parametrize("form", [Form.VIDEO, Form.ALBUM])
def test_of_videos_and_albums_only_the_escaped_preview_can_be_had(form: Form) -> None:
    fields, url = _fields(form), image_url(9, IMAGES[0], form)
    assert "&s=" in url and _source(fields) == url.replace("&", "&amp;")
    assert url not in fields["url"]


def test_a_gallery_is_ordered_by_its_items_not_by_its_metadata() -> None:
    fields = _fields(Form.GALLERY, images=3)
    items = [item["media_id"] for item in fields["gallery_data"]["items"]]
    valid = [i for i in items if fields["media_metadata"][i]["status"] == "valid"]
    assert [f"https://i.redd.it/{i}.jpg" for i in valid] == canonical_urls(
        9, image_post(Form.GALLERY, 3), None
    )
    assert set(items) == set(fields["media_metadata"])
    assert list(fields["media_metadata"]) == sorted(items) != items
    assert len(items) - len(valid) == 1, "number 3 has an item that was never processed"


def test_images_in_a_text_stand_in_order() -> None:
    post = image_post(Form.INLINE, 2)
    text, fields = text_with_images(9, post, "Look:"), _fields(Form.INLINE, 2)
    places = [text.index(media_id) for media_id in _ids(post)]
    assert places == sorted(places) and set(_ids(post)) == set(fields["media_metadata"])


def test_a_crosspost_shows_the_images_of_its_parent() -> None:
    parent = image_post(Form.IMGUR)
    assert canonical_urls(9, image_post(Form.CROSSPOST), parent) == canonical_urls(9, parent, None)
    with pytest.raises(ValueError, match="crosspost"):
        image_url(9, IMAGES[0], Form.CROSSPOST)
    with pytest.raises(ValueError, match="crosspost"):
        _fields(Form.CROSSPOST)


def test_urls_depend_on_seed_image_and_nothing_else() -> None:
    urls = {image_url(seed, image, Form.REDDIT) for seed in (9, 10) for image in IMAGES}
    assert len(urls) == 6
    assert image_url(9, IMAGES[0], Form.REDDIT) in urls


def _ids(post: Post) -> list[str]:
    return [url.rsplit("/", 1)[-1][:-4] for url in canonical_urls(9, post, None)]
