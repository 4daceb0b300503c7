"""Evidence of single users, and injected texts, that several tests of stage 4 share."""

from __future__ import annotations

from orchestration.bench.injections import TEXTS as INJECTIONS
from persona.items import Item, UserEvidence, tag_id


def subreddit(name: str, weight: float) -> Item:
    return Item(f"s:{name}", "subreddit", name, None, name, weight, 11, False)


def snippet(name: str, place: int, text: str, weight: float = 0.5) -> Item:
    return Item(f"t1_{name[:4]}{place}", "snippet", name, None, text, weight, 20, False)


def tag(facet: str, value: str, z: float, inferred: bool = False) -> Item:
    return Item(tag_id(facet, value), "tag", None, facet, value, z, 9, inferred)


def image(name: str) -> Item:
    url = f"https://i.example.net/{name}.jpg"
    return Item(f"i:{name}", "image", "neonnights", None, url, 0.9, 85, False)


def rich_user(user_id: str = "rich") -> UserEvidence:
    """A user with three subreddits, five remarks, four facets of taste and an image."""
    texts = (
        "Thanks, I love what the lens did to that photo!!",
        "Lovely tones. Which camera and lens was it?",
        "Glad you posted this, the exposure is wonderful.",
    )
    return UserEvidence(
        user_id,
        (
            subreddit("neonnights", 0.5),
            *(snippet("neonnights", place, text) for place, text in enumerate(texts)),
            subreddit("analogcats", 0.3),
            snippet("analogcats", 0, "My camera loves the cat, and the cat hates the camera lens."),
            subreddit("askeveryone", 0.2),
            snippet("askeveryone", 0, "Nothing to see at this desk."),
            tag("palette", "neon", 2.6),
            tag("subject", "cat", 1.5),
            tag("palette", "sunset", 1.4),
            tag("treatment", "watercolor", 1.2),
            tag("composition", "closeup", 0.8),
            image("abc"),
        ),
    )


def thin_user(user_id: str = "thin") -> UserEvidence:
    """A user of one subreddit, without texts."""
    return UserEvidence(user_id, (subreddit("pastelpeaks", 1.0),))


def injected_user(place: int, user_id: str = "rich") -> UserEvidence:
    """The rich user, who also wrote one of the injections."""
    items = rich_user().items
    bad = snippet("analogcats", 7, INJECTIONS[place])
    return UserEvidence(user_id, (*items[:6], bad, *items[6:]))
