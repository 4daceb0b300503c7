from __future__ import annotations

from typing import Any

import pytest

from pipelines.media import MAX_IMAGES, MEDIA_KEYS, Image, images_of

PREVIEW_URL = "https://external-preview.redd.it/Abc.jpg?auto=webp&amp;s=01"
PREVIEW = {"enabled": False, "images": [{"id": "x", "source": {"url": PREVIEW_URL, "width": 9}}]}
PREVIEWED = Image("https://external-preview.redd.it/Abc.jpg?auto=webp&s=01", "preview")


def item(
    media_type: str = "image/jpg", kind: str = "Image", status: str = "valid"
) -> dict[str, Any]:
    return {"status": status, "e": kind, "m": media_type, "s": {"x": 1, "y": 1}}


def gallery(*names: str, **metadata: Any) -> dict[str, Any]:
    return {
        "url": "https://www.reddit.com/gallery/abc",
        "is_gallery": True,
        "gallery_data": {"items": [{"media_id": name, "id": 1} for name in names]},
        "media_metadata": metadata,
        "preview": PREVIEW,
    }


def shown(submission: dict[str, Any]) -> list[tuple[str, str]]:
    return [(url, source) for url, source in images_of(submission).images]


@pytest.mark.parametrize(
    ("submission", "expected"),
    [
        ({"url": "https://i.redd.it/abcde.jpg"}, ("https://i.redd.it/abcde.jpg", "direct")),
        ({"url": "http://imgur.com/fn8aS"}, ("https://i.imgur.com/fn8aS.jpg", "page")),
        ({"url": "https://imgur.com/a/v4Ljs"}, tuple(PREVIEWED)),
        ({"url": "https://v.redd.it/abcde"}, tuple(PREVIEWED)),
        ({"url": "https://gfycat.com/animal"}, tuple(PREVIEWED)),
        ({"url": "https://thumbs.gfycat.com/animal.gif"}, tuple(PREVIEWED)),
        ({"url": "https://news.example.org/story"}, tuple(PREVIEWED)),
        ({"url": None}, tuple(PREVIEWED)),
    ],
)
def test_the_url_goes_before_the_preview_unless_it_shows_no_image(
    submission: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert shown(submission | {"preview": PREVIEW}) == [expected]


def test_a_host_that_went_dark_is_asked_if_there_is_no_preview() -> None:
    url = "http://i.minus.com/ibc.jpg"
    assert shown({"url": url}) == [(url, "direct")]


def test_the_destination_overrides_the_permalink() -> None:
    permalink = "https://www.reddit.com/r/pics/comments/abc/x/"
    submission = {"url": permalink, "url_overridden_by_dest": "https://i.redd.it/abcde.png"}
    assert shown(submission) == [("https://i.redd.it/abcde.png", "direct")]
    assert shown(submission | {"url_overridden_by_dest": None}) == []


def test_galleries_keep_their_order_and_leave_out_what_has_no_image() -> None:
    submission = gallery(
        "zzzzz",
        "failed",
        "unprocessed",
        "aaaaa",
        "video",
        "nowhere",
        "zzzzz",
        "anime",
        "../../etc",
        zzzzz=item(),
        aaaaa=item("image/png"),
        anime=item("image/gif", "AnimatedImage"),
        failed=item(status="failed"),
        unprocessed={"status": "unprocessed"},
        video=item("video/mp4", "RedditVideo"),
    )
    submission["media_metadata"]["../../etc"] = item()
    assert shown(submission) == [
        ("https://i.redd.it/zzzzz.jpg", "gallery"),
        ("https://i.redd.it/aaaaa.png", "gallery"),
        ("https://i.redd.it/anime.gif", "gallery"),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"gallery_data": None},
        {"gallery_data": {"items": None}},
        {"gallery_data": {"items": []}},
        {"media_metadata": None},
        {"gallery_data": {"items": [None, {"media_id": 7}, {}]}},
    ],
)
def test_a_gallery_without_data_shows_nothing_not_even_its_preview(change: dict[str, Any]) -> None:
    assert shown(gallery("aaaaa", aaaaa=item()) | change) == []


def test_images_in_a_selftext_come_in_its_order() -> None:
    text = (
        "see https://preview.redd.it/my-cat-v0-bbbbb.jpg?s=1 and https://preview.redd.it/aaaaa.png"
    )
    metadata = {
        "aaaaa": item("image/png"),
        "ccccc": item(),
        "bbbbb": item(),
        "giphy|abc": item("image/gif", "AnimatedImage"),
        "emote|t5|1": item("image/png"),
    }
    url = "https://www.reddit.com/r/pics/comments/abc/x/"
    submission = {"url": url, "selftext": text, "media_metadata": metadata, "preview": PREVIEW}
    assert shown(submission) == [
        ("https://i.redd.it/bbbbb.jpg", "inline"),
        ("https://i.redd.it/aaaaa.png", "inline"),
        ("https://i.redd.it/ccccc.jpg", "inline"),
    ]


def test_a_crosspost_shows_what_its_parent_shows() -> None:
    parent = gallery("bbbbb", "aaaaa", aaaaa=item(), bbbbb=item())
    submission = {"url": "https://i.redd.it/other.jpg", "crosspost_parent_list": [parent]}
    assert shown(submission) == [
        ("https://i.redd.it/bbbbb.jpg", "crosspost"),
        ("https://i.redd.it/aaaaa.jpg", "crosspost"),
    ]


@pytest.mark.parametrize(
    "gone",
    [{"author": "[deleted]"}, {"removed_by_category": "moderator"}, {"over_18": True}],
)
def test_what_a_parent_lost_its_crossposts_lose_too(gone: dict[str, Any]) -> None:
    parent = {"author": "a", "url": "https://i.redd.it/abcde.jpg"} | gone
    submission = {"url": "https://i.redd.it/abcde.jpg", "crosspost_parent_list": [parent]}
    assert shown(submission) == []
    kept = images_of(submission, over_18=True).images
    assert bool(kept) == ("over_18" in gone)


@pytest.mark.parametrize("parents", [[], None, [None], "x", {}])
def test_no_parent_means_no_crosspost(parents: object) -> None:
    submission = {"url": "https://i.redd.it/abcde.jpg", "crosspost_parent_list": parents}
    assert shown(submission) == [("https://i.redd.it/abcde.jpg", "direct")]


def test_only_an_album_that_nothing_stands_for_is_lost() -> None:
    album = {"url": "https://imgur.com/a/v4Ljs"}
    assert images_of(album).is_lost_album
    assert not images_of(album | {"preview": PREVIEW}).is_lost_album
    assert not images_of({"url": "https://example.org/"}).is_lost_album


def test_the_number_of_images_has_a_limit() -> None:
    names = [f"a{n:06}" for n in range(1000)]
    submission = gallery(*names, **dict.fromkeys(names, item()))
    assert len(images_of(submission).images) == MAX_IMAGES


@pytest.mark.parametrize("key", MEDIA_KEYS)
@pytest.mark.parametrize(
    "value", [None, 3, "x", [], {}, [{}], [[]], {"items": 1}, {"images": 1}, True]
)
def test_wrong_types_are_no_images_and_no_crash(key: str, value: object) -> None:
    whole = gallery("aaaaa", aaaaa=item()) | {"crosspost_parent_list": []}
    images_of(whole | {key: value})
    assert not images_of({"url": "https://v.redd.it/x", key: value}).images
    images_of({"crosspost_parent_list": [whole | {key: value}]})


@pytest.mark.parametrize(
    "preview",
    [
        {"images": [{}]},
        {"images": [{"source": None}]},
        {"images": [{"source": {"url": 3}}]},
        {"images": [{"source": {"url": "https://www.reddit.com/"}}]},
    ],
)
def test_a_preview_without_a_source_shows_nothing(preview: object) -> None:
    assert shown({"url": "https://v.redd.it/x", "preview": preview}) == []


@pytest.mark.parametrize(
    "bad", [{"e": []}, {"m": {}}, {"status": []}, {"m": None}, {"m": "text/html"}]
)
def test_an_odd_item_of_a_gallery_is_left_out(bad: dict[str, Any]) -> None:
    assert shown(gallery("aaaaa", "bbbbb", aaaaa=item() | bad, bbbbb=item())) == [
        ("https://i.redd.it/bbbbb.jpg", "gallery")
    ]
