from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from pipelines.config import IngestConfig
from pipelines.dumps import Kind
from pipelines.native import parser
from pipelines.native.parser import LineParser
from pipelines.pseudonym import Pseudonyms
from pipelines.rows import Parsed, Tally, parse_batch
from tests.pipelines.test_records import COMMENT, SUBMISSION, lines

KEY = b"0123456789abcdef"
OBJECTS: dict[Kind, dict[str, Any]] = {"RC": COMMENT, "RS": SUBMISSION}
CONFIGS = [
    IngestConfig(inputs=("d",), key_file="k"),
    IngestConfig(inputs=("d",), key_file="k", over_18="keep", bots=("a",), max_text_chars=7),
]


def both(kind: Kind, data: bytes, config: IngestConfig = CONFIGS[0]) -> tuple[Parsed, Parsed]:
    pseudonyms = Pseudonyms(KEY)
    fast = LineParser(kind, config, pseudonyms).parse(data, 5, (3, "d"))
    slow = parse_batch(kind, data, 5, dump=(3, "d"), config=config, pseudonyms=pseudonyms)
    return fast, slow


def told(tally: Tally) -> tuple[Any, ...]:
    counts = (tally.rejected, tally.dropped, tally.other)
    return tally.rows_in, *({name: n for name, n in c.items() if n} for c in counts)


def assert_same(kind: Kind, data: bytes, config: IngestConfig = CONFIGS[0]) -> None:
    fast, slow = both(kind, data, config)
    columns = slow.versions.columns
    assert set(fast.versions.columns) <= set(columns)
    known = fast.versions.with_columns(
        pl.lit(None, slow.versions.schema[name]).alias(name)
        for name in set(columns) - set(fast.versions.columns)
    )
    assert known.select(columns).sort("line_number").equals(slow.versions.sort("line_number"))
    assert fast.rejects.sort("line_number").equals(slow.rejects.sort("line_number"))
    assert told(fast.tally) == told(slow.tally)


VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    7,
    -3,
    1_570_000_000,
    1_570_000_000.0,
    1_570_000_000.75,
    -0.0,
    1e300,
    10**17,
    10**18,
    10**19,
    2**31,
    2**63,
    "",
    " ",
    "abc",
    "A_b-9",
    "[deleted]",
    " [Removed] ",
    "\\[deleted\\]",
    "[deleted by user]",
    "[ Removed by Reddit ]",
    "x" * 31,
    "y" * 51,
    "1570000000",
    "t3_zz",
    "t3_",
    "t1_zz",
    "t3_zzzzzzzzzzzzz",
    "zzzzzzzzzzzz",
    "zzzzzzzzzzzzz",
    "u_someone",
    "AutoModerator",
    "some_Bot",
    "https://i.redd.it/abcde.jpg",
    "https://i.redd.it/abcde.JPG",
    "https://i.redd.it/a-v0-abcde.png?x=1",
    "https://www.reddit.com/r/pics/comments/1/x/",
    "https://www.reddit.com/media?url=https%3A%2F%2Fi.redd.it%2Fabcde.jpg",
    "https://imgur.com/a/abcde",
    "https://e.com/a\nb\tc",
    "http://e.com/?a=1&amp;b=@someone",
    "é" * 9,
    "tab\tnew\nline\r\nnul\0bell\a",
    'quote " slash / back \\ emoji 😀',
    "zero\u200bwidth\u200f \u2066 \ufeff soft\u00ad",
    "&amp; &lt;b&gt; &#x200B; &nbsp;",
    "by u/somebody and /u/Some\\_body, @x @yz user/z mu/x /r/u/",
    "A said a, and A",
    "İ ı ſ K",
    [],
    {},
    [1, [2, {"a": []}]],
    {"a": {"b": [1, 2.5, "x", None, True, False]}},
]


@pytest.mark.parametrize("kind", ["RC", "RS"])
@pytest.mark.parametrize("config", CONFIGS)
def test_any_value_of_any_field_is_read_as_in_the_slow_way(
    kind: Kind, config: IngestConfig
) -> None:
    keys = parser.RECIPES[kind].keys.names
    objects = [OBJECTS[kind] | {key: value} for key in keys for value in VALUES]
    objects += [
        OBJECTS[kind] | {"_meta": {key: value}}
        for key in ("was_deleted_later", "retrieved_2nd_on")
        for value in VALUES
    ]
    objects += [{k: v for k, v in OBJECTS[kind].items() if k != key} for key in keys]
    assert_same(kind, lines(*objects), config)
    ascii_lines = b"".join(json.dumps(value).encode() + b"\n" for value in objects)
    assert_same(kind, ascii_lines, config)


IMAGES: list[dict[str, Any]] = [
    {"preview": {"images": [{"source": {"url": "https://preview.redd.it/abcde.jpg?s=1"}}]}},
    {
        "preview": {
            "images": [{"source": {"url": "https://external-preview.redd.it/x?a=1&amp;s=2"}}]
        }
    },
    {"preview": {"images": [{"source": {"url": 1}}]}},
    {"preview": {"images": [1, {"source": {"url": "https://i.redd.it/zzzzz.png"}}]}},
    {"preview": {"images": []}},
    {"preview": {"images": [{"source": {"url": f"https://i.redd.it/{c}aaaa.png"}} for c in "ab"]}},
    {"url": "https://v.redd.it/x", "preview": {"images": [{"source": None}], "enabled": True}},
    {
        "is_gallery": True,
        "gallery_data": {"items": [{"media_id": m} for m in ("bbbbb", "aaaaa", "ccccc", "none!")]},
        "media_metadata": {
            "aaaaa": {"status": "valid", "e": "Image", "m": "image/jpg", "s": {"x": 1}},
            "bbbbb": {"status": "valid", "e": "AnimatedImage", "m": "image/gif"},
            "ccccc": {"status": "unprocessed"},
        },
    },
    {"is_gallery": True, "gallery_data": None, "media_metadata": None},
    {"gallery_data": {"items": [{"media_id": "aaaaa"}]}, "media_metadata": {"aaaaa": 1}},
    {
        "selftext": "https://preview.redd.it/aaaaa.jpg",
        "url": "https://www.reddit.com/r/pics/1",
        "media_metadata": {
            "aaaaa": {"status": "valid", "e": "Image", "m": "image/png"},
            "giphy|x": {"status": "valid", "e": "AnimatedImage", "m": "image/gif"},
        },
    },
    {"crosspost_parent_list": []},
    {"crosspost_parent_list": [{"url": "https://i.redd.it/ppppp.jpg", "author": "b"}]},
    {"crosspost_parent_list": [{"url": "https://i.redd.it/ppppp.jpg", "over_18": True}]},
    {"crosspost_parent_list": [{"url": "https://i.redd.it/ppppp.jpg", "author": "[deleted]"}]},
    {"url": "https://imgur.com/abcde,abcdf", "url_overridden_by_dest": "https://e.com/x"},
    {"url_overridden_by_dest": "https://i.redd.it/fffff.webp"},
    {"url_overridden_by_dest": "https://i.redd.it/fffff.mp4"},
]


@pytest.mark.parametrize("config", CONFIGS)
def test_images_are_those_of_the_slow_way(config: IngestConfig) -> None:
    objects = [SUBMISSION | one | {"id": f"i{n}"} for n, one in enumerate(IMAGES)]
    links = [SUBMISSION | {"url": "https://example.com/page"} | one for one in IMAGES]
    assert_same("RS", lines(*objects, *links), config)


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.replace(b":", b" :\t", 3),
        lambda line: line.replace(b",", b" , ", 2),
        lambda line: b"  " + line + b" \r",
        lambda line: line.replace(b'"id"', b'"i\\u0064"'),
        lambda line: line[:-1] + b',"id":"zz"}',
        lambda line: line[:-1] + b',"other":"\\ud800"}',
        lambda line: line[:-1] + b',"other":"\\ud83d\\ude00"}',
        lambda line: line[:-1] + b',"other":"\xff"}',
        lambda line: line[:-1] + b',"other":"\xed\xa0\x80"}',
        lambda line: line[:-1] + b',"other":"\x01"}',
        lambda line: line[:-1] + b',"other":01}',
        lambda line: line[:-1] + b',"other":1.}',
        lambda line: line[:-1] + b',"other":-}',
        lambda line: line[:-1] + b',"other":1e5}',
        lambda line: line[:-1] + b',"other":nul}',
        lambda line: line[:-1] + b',"other":NaN}',
        lambda line: line[:-1] + b',"other":[1,]}',
        lambda line: line[:-1] + b',"other":{"a":1,}}',
        lambda line: line[:-1] + b',"other":' + b"[" * 70 + b"]" * 70 + b"}",
        lambda line: line[:-1] + b',"other":' + b"[" * 3000 + b"}",
        lambda line: line[:-1],
        lambda line: line + b"}",
        lambda line: line + line,
        lambda line: b"[" + line + b"]",
        lambda line: b"null",
        lambda line: b"",
        lambda line: b" \t\r",
        lambda line: b"\x00" * 40,
    ],
)
def test_lines_in_doubt_are_left_to_the_slow_way(change: Callable[[bytes], bytes]) -> None:
    kinds: tuple[Kind, ...] = ("RC", "RS")
    for kind in kinds:
        line = json.dumps(OBJECTS[kind]).encode()
        assert_same(kind, b"\n".join([line, change(line), line, change(line)]))


@pytest.mark.parametrize("kind", ["RC", "RS"])
def test_lines_that_differ_from_the_first_in_any_byte_are_read_as_in_the_slow_way(
    kind: Kind,
) -> None:
    unwanted: dict[str, Any] = {
        "a_run": [],
        "of_members": {"with": "anything", "in": [1, None]},
        "that_no_table_holds": None,
        "and_a_key_that_is_longer_than_a_block_of_bytes": True,
        "with": "escapes \n, é and 😀",
        "to": -0.5,
    }
    members = unwanted | OBJECTS[kind] | {key + "_2": value for key, value in unwanted.items()}
    first = json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()
    changed = [
        first[:position] + new + first[position + old :]
        for position in range(len(first))
        for new, old in [(b"", 1), *((bytes([c]), 1) for c in b'"\\x7{}],: \x00\xff'), (b'"', 0)]
    ]
    assert_same(kind, b"\n".join([first, *(line for line in changed if b"\n" not in line)]))


PIECES = [
    "&amp;", "&lt;", "&gt;", "&nbsp;", "&#x200B;", "&#x200b;", "&#x200", "&", "amp;", "lt;",
    "#x200B;", "nBsp;", "u/Someone", "/user/a_b", "U/x", "u/", "r/aww", "@", "@ab", "a@b.example",
    "\u00e9@ab", "\U0001f600", "\u00e9", "\u00a0", "\u2003", "\u3000", "\u1680", "\u2028",
    "\u205f", "\u2019", "\u200b", "\u0085", "\u3002", "\ufeff", " ", "\n", "\r\n", "\t",
    "\x1c", "word", "Someone", "\\_", "a\\_b", "]", "(", "_", "-", "0", "x" * 31,
]  # fmt: skip


def test_texts_of_all_that_cleaning_knows_are_those_of_the_slow_way() -> None:
    """In both eras, with JSON's escapes and without."""
    rng = random.Random(0)
    fields: list[tuple[Kind, str]] = [("RC", "body")]
    fields += [("RS", key) for key in ("title", "selftext", "url")]
    for kind, key in fields:
        objects = []
        for number in range(3_000):
            text = "".join(rng.choices(PIECES, k=rng.randrange(1, 5)))
            created = rng.choice([1_600_000_000, 1_700_000_000])
            objects.append(OBJECTS[kind] | {key: text, "created_utc": created, "id": f"{number}"})
        for ascii_only in (True, False):
            made = [json.dumps(one, ensure_ascii=ascii_only).encode() for one in objects]
            assert_same(kind, b"\n".join([*made, b""]))


def test_authors_are_found_in_their_texts_wherever_they_stand() -> None:
    objects = [
        COMMENT | {"author": name, "body": "x" * before + said + "y" * after}
        for name in ("a", "Ab", "some_one", "x-9-and-a-name-of-30-characters")
        for said in (name, name.swapcase(), name.replace("_", "\\_"), f" {name[:-1]}")
        for before in range(70)
        for after in (0, 1, 31, 40)
    ]
    assert_same("RC", lines(*objects))
    spaced = [o | {"body": " ".join([*"bcd", o["body"].strip("xy"), *"efg"])} for o in objects]
    assert_same("RC", lines(*spaced))


def test_batches_of_many_lines_and_any_end_are_read_to_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parser, "MAX_LINES", 3)
    generator = random.Random(0)
    for number in range(40):
        objects = [
            COMMENT | {"id": f"c{i}", "body": "é\n" * generator.randrange(40)}
            for i in range(number)
        ]
        data = lines(*objects)
        assert_same("RC", data)
        assert_same("RC", data.rstrip(b"\n"))


def test_names_are_remembered_between_batches_and_forgotten_when_there_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parser, "MAX_NAMES", 5)
    pseudonyms = Pseudonyms(KEY)
    reader = LineParser("RC", CONFIGS[0], pseudonyms)
    for batch in range(6):
        names = [f"Name_{(batch * 3 + i) % 7}" for i in range(4)]
        data = lines(*(COMMENT | {"author": name, "subreddit": f"S{name}"} for name in names))
        rows = reader.parse(data, 1, (0, "d")).versions
        assert rows["user_id"].to_list() == pseudonyms.user_ids(names)
        assert rows["subreddit"].to_list() == [f"s{name}".lower() for name in names]


@pytest.mark.parametrize("kind", ["RS", "RC"])
def test_subreddits_that_bear_their_authors_name_are_dropped_as_in_the_slow_way(kind: Kind) -> None:
    names = ["Lil_X", "lil_x", "LIL-X", "lil_y", "a", "[deleted]", "", None]
    changes = [{"author": one, "subreddit": other} for one in names for other in names[:5]]
    data = lines(*(OBJECTS[kind] | {"id": f"p{n}"} | c for n, c in enumerate(changes)))
    assert both(kind, data)[0].tally.dropped["profile_subreddit"] == 7
    assert_same(kind, data)


LINKS = [
    "https://v.redd.it/abc",
    "http://v.redd.it/abc.jpg",
    "https://redd.it/abc",
    "https://preview.redd.it/abcde.jpg?x=1",
    "https://www.reddit.com/r/a/b.jpg",
    "https://www.reddit.com/gallery/abc",
    "https://old.reddit.com/r/a",
    "https://www.reddit.com./r/a",
    "https://e.com",
    "https://e.com/a.jpg",
    "https://e.com/a.JPG?b",
    "https://e.com/a.jpg#b",
    "https://e.com/a.jpg ",
    "https://e.com/a.b.html",
    "https://e.com/a.j?/b.png",
    "https://e.com/a.png&amp;",
    "https://e.com/x.jpg/",
    "https://e.com/wiki/a.png",
    "https://E.com/a",
    "https://e.com:80/a",
    "https://u@e.com/a",
    "https://gfycat.com/a.gif",
    "https://gfycat.com/a",
    "https://media.com/a.jpg",
    "https://i.imgur.com/abcde.jpg",
    "https://x.redditmedia.com/abc",
    "https://example.com.jpg",
    "ftp://e.com/a.jpg",
    "https://é.com/a.jpg",
    "https:///a.jpg",
    f"https://e.com/{'a' * 5000}",
]
PREVIEWS = [
    "https://preview.redd.it/abcde.jpg?auto=webp&amp;s=1",
    "https://preview.redd.it/a-title-v0-abcde.png?s=1",
    "https://preview.redd.it/abcde.mp4?s=1",
    "https://preview.redd.it/abcde.JPG?s=1",
    "https://preview.redd.it/abcde.jpg?s=1#x",
    "https://preview.redd.it/abcde.jpg",
    "https://external-preview.redd.it/a_b-c.jpg?auto=webp&amp;s=1",
    "https://external-preview.redd.it/a.jpg?s=<1>",
    "https://external-preview.redd.it/a.jpg?s=1 ",
    "https://external-preview.redd.it/a.jpg?s=é",
    f"https://external-preview.redd.it/a.jpg?{'a' * 4096}",
    "https://external-preview.redd.it/a.jpg",
    "https://external-preview.redd.it/",
    "https://e.com/a.jpg",
    7,
]


def test_what_links_and_previews_show_is_as_in_the_slow_way() -> None:
    nothing = dict.fromkeys(("gallery_data", "media_metadata", "crosspost_parent_list"))
    shapes: list[Callable[[Any], Any]] = [
        lambda url: {"images": [{"source": {"url": url}}]},
        lambda url: {"images": [{"source": {"url": url}}, {"source": {"url": url + "x"}}]},
        lambda url: {"images": []},
        lambda url: None,
    ]
    previews = [shape(url) for url in PREVIEWS[:-1] for shape in shapes]
    previews += [shapes[0](PREVIEWS[-1]), {"images": {}}, {}]
    rng = random.Random(0)
    objects = [
        SUBMISSION
        | nothing
        | {"url": link, "url_overridden_by_dest": other, "preview": preview, "is_gallery": False}
        for link in LINKS
        for other in (None, rng.choice(LINKS), link)
        for preview in rng.sample(previews, 12)
    ]
    assert_same("RS", lines(*objects))
    shown = both("RS", lines(*objects))[0].versions["media"].list.len()
    assert len(set(shown)) > 1


def test_what_galleries_show_is_as_in_the_slow_way() -> None:
    rng = random.Random(0)
    names = ["abcde", "fghij", "a" * 32, "b" * 33, "abcd", "ab-de", "kl\nmn", "\u00e9abcd"]
    types = [
        "image/jpg",
        "image/jpeg",
        "image/png",
        "image/gif",
        "image/webp",
        "video/mp4",
        3,
        None,
    ]
    entries: list[Any] = [
        {"status": status, "e": what, "m": of, "s": {"u": "x"}}
        for status in ("valid", "unprocessed", "failed")
        for what in ("Image", "AnimatedImage", "RedditVideo")
        for of in types
    ]
    entries += [7, None, {}, []]
    lists: list[Any] = [None, {}, [], [7], [{"media_id": 7}], [{}], "x"]

    def gallery() -> dict[str, Any]:
        metadata = {name: rng.choice(entries[:6] + entries[-9:]) for name in rng.sample(names, 5)}
        items: Any = [{"media_id": rng.choice(names), "id": i} for i in range(rng.randrange(9))]
        if rng.random() < 0.3:
            items = rng.choice(lists) if rng.random() < 0.5 else [*items, rng.choice([7, {}, None])]
        return {
            "url": "https://www.reddit.com/gallery/abc",
            "is_gallery": rng.choice([True, True, True, None, "x"]),
            "gallery_data": rng.choice([{"items": items}] * 8 + [None, {}, 7]),
            "media_metadata": rng.choice([metadata] * 8 + [None, {}, 7]),
            "crosspost_parent_list": None,
        }

    objects = [SUBMISSION | gallery() for _ in range(800)]
    assert_same("RS", lines(*objects))
    shown = both("RS", lines(*objects))[0].versions["media"].list.len()
    assert len(set(shown)) > 2


def test_what_repeated_submissions_show_is_as_in_the_slow_way() -> None:
    rng = random.Random(0)
    metadata = {"abcde": {"status": "valid", "e": "Image", "m": "image/png", "s": {"u": "x"}}}
    gallery = {
        "is_gallery": True,
        "gallery_data": {"items": [{"media_id": "abcde"}]},
        "media_metadata": metadata,
    }
    signs: dict[str, list[Any]] = {
        "author": ["a", "a", "a", "[deleted]", "[removed]", "\u00e9", 'a"b', None, 7],
        "removed_by_category": [None, None, None, "", "deleted", 'a"b', False, True, 0, []],
        "over_18": [False, False, False, True, None, 1, "no", 0],
        "preview": [None, *({"images": [{"source": {"url": url}}]} for url in PREVIEWS[:-1])],
    }

    def parent() -> dict[str, Any]:
        made = {key: rng.choice(values) for key, values in signs.items() if rng.random() < 0.8}
        made |= {"url": rng.choice(LINKS), "selftext": "", "media_metadata": None}
        made |= gallery if rng.random() < 0.2 else {}
        if rng.random() < 0.1:
            made |= {"crosspost_parent_list": [{"url": LINKS[0]}]}
        return made

    def parents() -> Any:
        luck = rng.random()
        if luck < 0.85:
            return [parent()]
        return [parent(), parent()] if luck < 0.9 else rng.choice([[], [7], [parent(), 7], {}, 7])

    objects = [SUBMISSION | {"crosspost_parent_list": parents()} for _ in range(1_500)]
    for config in CONFIGS:
        assert_same("RS", lines(*objects), config)
    twice = lines(*objects).replace(b'"author": "[deleted]"', b'"author": "a", "author": "a"')
    assert_same("RS", twice)
    media = both("RS", lines(*objects))[0].versions["media"].explode().struct.field("source")
    assert media.eq("crosspost").sum() > 300
