from __future__ import annotations

import hashlib

import pytest

from pipelines.urls import image_id, resolve

SIGNED = "external-preview.redd.it/Abc_d-1.jpg?width=960&auto=webp&s=0123abcd"

DIRECT = [
    # Reddit
    ("https://i.redd.it/abc123def4567.jpg", "https://i.redd.it/abc123def4567.jpg"),
    ("http://i.redd.it/abc123def4567.PNG?x=1#y", "https://i.redd.it/abc123def4567.png"),
    ("https://preview.redd.it/abc.jpg?width=640&amp;s=01", "https://i.redd.it/abc.jpg"),
    (
        "https://preview.redd.it/my-cat-v0-abc123.jpeg?auto=webp&s=1",
        "https://i.redd.it/abc123.jpeg",
    ),
    ("https://preview.redd.it/x/y_z.png?s=1", "https://preview.redd.it/x/y_z.png?s=1"),
    (f"https://{SIGNED}".replace("&", "&amp;"), f"https://{SIGNED}"),
    (f"https://{SIGNED}", f"https://{SIGNED}"),
    ("https://i.redditmedia.com/Ab-c.jpg?s=01ff", "https://i.redditmedia.com/Ab-c.jpg?s=01ff"),
    (
        "https://i.reddituploads.com/ccce47?fit=max&amp;h=1536&amp;s=83",
        "https://i.reddituploads.com/ccce47?fit=max&h=1536&s=83",
    ),
    (
        "https://www.reddit.com/media?url=https%3A%2F%2Fi.redd.it%2Fabc123.jpg",
        "https://i.redd.it/abc123.jpg",
    ),
    # imgur
    ("http://i.imgur.com/fn8aS.jpg", "https://i.imgur.com/fn8aS.jpg"),
    ("https://imgur.com/AbCdEfG.png", "https://i.imgur.com/AbCdEfG.png"),
    ("https://m.imgur.com/AbCdEfG.JPEG?1", "https://i.imgur.com/AbCdEfG.jpeg"),
    ("https://i.imgur.com/AbCdEfG.gifv", "https://i.imgur.com/AbCdEfG.jpg"),
    ("https://i.imgur.com/AbCdEfG.mp4", "https://i.imgur.com/AbCdEfG.jpg"),
    ("https://i.imgur.com/AbCdEfG.gif", "https://i.imgur.com/AbCdEfG.gif"),
    ("https://i.imgur.com/AbCdEfGl.jpg", "https://i.imgur.com/AbCdEfG.jpg"),
    ("https://i.imgur.com/fn8aSh.png", "https://i.imgur.com/fn8aS.png"),
    ("https://i.imgur.com/AbCdEfGx.jpg", "https://i.imgur.com/AbCdEfGx.jpg"),
    ("https://i.imgur.com/AbCdEfG_d.webp?maxwidth=760", "https://i.imgur.com/AbCdEfG.webp"),
    ("http://i.stack.imgur.com/fn8aS.png?x=1", "https://i.stack.imgur.com/fn8aS.png"),
    ("https://i.stack.imgur.com/fn8aSm.png", "https://i.stack.imgur.com/fn8aSm.png"),
    # elsewhere
    ("http://Example.ORG/A/b.JPG", "http://example.org/A/b.JPG"),
    (
        "https://cdn.example.org:8443/a.webp?v=1&amp;w=2#f",
        "https://cdn.example.org:8443/a.webp?v=1&w=2",
    ),
    ("http://127.0.0.1:8000/a.png", "http://127.0.0.1:8000/a.png"),
    ("  https://example.org/größe.gif ", "https://example.org/größe.gif"),
    ("https://example.org./a.avif", "https://example.org/a.avif"),
    ("https://pbs.twimg.com/media/AbC.jpg:large", "https://pbs.twimg.com/media/AbC.jpg"),
    (
        "https://pbs.twimg.com/media/AbC?format=png&name=small",
        "https://pbs.twimg.com/media/AbC.png",
    ),
    # A plain url that looks escaped: only `&amp;` is undone.
    ("https://example.org/a.jpg?a=1&copy=2", "https://example.org/a.jpg?a=1&copy=2"),
]
FADING = [
    "https://media.giphy.com/media/abc/giphy.gif",
    "http://i.minus.com/ibc.jpg",
    "http://i.qkme.me/3abc.jpg",
    "http://i45.tinypic.com/abc.png",
]
NOTHING = [
    "",
    "not a url",
    "/r/pics/comments/abc/x.jpg",
    "ftp://example.org/a.jpg",
    "javascript:alert(1)//a.jpg",
    "data:image/png;base64,AAAA.jpg",
    "file:///etc/a.jpg",
    "https://user:pass@example.org/a.jpg",
    "https://user@example.org/a.jpg",
    "https://example.org@evil.org/a.jpg",
    "https://[::1]/a.jpg",
    "https://exa mple.org/a.jpg",
    "https://example.org/a b.jpg",
    "https://example.org/a\nb.jpg",
    "https://example.org/a\\b.jpg",
    "https://example.org/a\u2028b.jpg",
    'https://example.org/"><script>.jpg',
    "https://example.org:999999/a.jpg",
    "https:///a.jpg",
    "https://example.org",
    "https://example.org/a.html?x=b.jpg",
    "https://example.org/" + "a" * 4096 + ".jpg",
    "https://en.wikipedia.org/wiki/File:Cat.jpg",
    "https://example.org/removed.png",
    "https://i.imgur.com/removed.png",
    "https://i.imgur.com/AbCdEfG.exe",
    "https://imgur.com/",
    "https://imgur.com/upload",
    "https://imgur.com/user/someone",
    "https://i.stack.imgur.com/fn8aS",
    "https://v.redd.it/abc123",
    "https://redd.it/abc123",
    "https://i.redd.it/",
    "https://i.redd.it/abc123.html",
    "https://www.reddit.com/gallery/abc123",
    "https://www.reddit.com/r/pics/comments/abc/my_cat.jpg",
    "https://www.reddit.com/media?url=https%3A%2F%2Fwww.reddit.com%2Fmedia%3Furl%3Dx",
    "https://www.reddit.com/media?url=file%3A%2F%2F%2Fa.jpg",
    "https://twimg.com/a.jpg",
    "https://pbs.twimg.com/media/AbC",
    "https://notimgur.com/AbCdEfG",
    "https://gfycat.com/someanimal",
    "https://i.reddituploads.com/",
]


@pytest.mark.parametrize(("url", "canonical"), DIRECT)
def test_urls_of_images_have_one_spelling(url: str, canonical: str) -> None:
    found = resolve(url)
    assert (found.how, found.urls, found.is_fading) == ("direct", (canonical,), False)


@pytest.mark.parametrize(("url", "canonical"), DIRECT)
def test_a_canonical_url_stands_for_itself(url: str, canonical: str) -> None:
    assert resolve(canonical).urls == (canonical,)


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("http://imgur.com/AbCdEfG", ["AbCdEfG"]),
        ("https://m.imgur.com/fn8aS/", ["fn8aS"]),
        ("http://www.imgur.com/r/pics/AbCdEfG", ["AbCdEfG"]),
        ("http://imgur.com/fn8aS,AbCdEfG#0", ["fn8aS", "AbCdEfG"]),
    ],
)
def test_pages_of_imgur_name_their_images(url: str, names: list[str]) -> None:
    found = resolve(url)
    assert found.how == "page"
    assert found.urls == tuple(f"https://i.imgur.com/{name}.jpg" for name in names)


@pytest.mark.parametrize(
    "url",
    [
        "https://imgur.com/a/v4Ljs",
        "http://m.imgur.com/gallery/AbCdEfG",
        "https://imgur.com/t/cats/AbCdEfG",
        "https://imgur.com/a/v4Ljs#3",
    ],
)
def test_albums_of_imgur_name_no_image(url: str) -> None:
    found = resolve(url)
    assert (found.how, found.urls) == ("album", ())


@pytest.mark.parametrize("url", FADING)
def test_hosts_that_went_dark_are_marked(url: str) -> None:
    found = resolve(url)
    assert (found.how, found.urls, found.is_fading) == ("direct", (url,), True)


@pytest.mark.parametrize("url", NOTHING)
def test_all_else_leads_to_nothing(url: str) -> None:
    found = resolve(url)
    assert (found.how, found.urls) == ("none", ())


def test_an_image_id_is_128_bits_of_its_url() -> None:
    url = "https://i.redd.it/abc.jpg"
    assert image_id(url) == hashlib.blake2b(url.encode(), digest_size=16).hexdigest()
    assert len(image_id(url)) == 32
