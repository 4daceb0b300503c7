"""Objects of dumps of 2019: one submission or comment -> the fields that such a line had.

The fields are those of monthly files of 2019, keys sorted, urls and texts HTML-escaped. Galleries
came in 2020; they are here all the same, since ingest must read them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from orchestration.sample import hosting, texts
from orchestration.sample.activity import Act, Form, Post
from orchestration.sample.tastes import Subreddit
from pipelines.base36 import base36

Fields = dict[str, Any]

DELETED = "[deleted]"
REMOVED = "[removed]"
_DAY_S = 86_400
_AUTHOR_SINCE = 1_420_000_000  # no account is older, epoch seconds
_AUTHOR_YEARS_S = 4 * 365 * _DAY_S

_ACCOUNT_KEYS = (
    "author_created_utc",
    "author_flair_richtext",
    "author_flair_type",
    "author_fullname",
    "author_patreon_flair",
    "author_premium",
)
_BOTH: Fields = {
    "all_awardings": [],
    "author_flair_css_class": None,
    "author_flair_template_id": None,
    "author_flair_text": None,
    "author_flair_text_color": None,
    "author_flair_background_color": None,
    "awarders": [],
    "can_mod_post": False,
    "distinguished": None,
    "edited": False,
    "gilded": 0,
    "gildings": {},
    "locked": False,
    "no_follow": True,
    "removal_reason": None,
    "send_replies": True,
    "stickied": False,
    "subreddit_type": "public",
    "total_awards_received": 0,
}
_COMMENT: Fields = _BOTH | {
    "associated_award": None,
    "can_gild": True,
    "collapsed": False,
    "collapsed_because_crowd_control": None,
    "collapsed_reason": None,
    "controversiality": 0,
    "quarantined": False,
    "steward_reports": [],
}
_SUBMISSION: Fields = _BOTH | {
    "allow_live_comments": False,
    "archived": False,
    "can_gild": True,
    "category": None,
    "content_categories": None,
    "contest_mode": False,
    "discussion_type": None,
    "hidden": False,
    "is_crosspostable": True,
    "is_meta": False,
    "is_original_content": False,
    "is_reddit_media_domain": False,
    "is_robot_indexable": True,
    "is_self": False,
    "is_video": False,
    "link_flair_background_color": "",
    "link_flair_css_class": None,
    "link_flair_richtext": [],
    "link_flair_text": None,
    "link_flair_text_color": "dark",
    "link_flair_type": "text",
    "media": None,
    "media_embed": {},
    "media_only": False,
    "num_crossposts": 0,
    "over_18": False,
    "parent_whitelist_status": "all_ads",
    "pinned": False,
    "pwls": 6,
    "quarantine": False,
    "removed_by": None,
    "removed_by_category": None,
    "secure_media": None,
    "secure_media_embed": {},
    "selftext": "",
    "spoiler": False,
    "suggested_sort": None,
    "thumbnail_height": None,
    "thumbnail_width": None,
    "treatment_tags": [],
    "whitelist_status": "all_ads",
    "wls": 6,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionLine:
    """What a submission object is made from; `parent` is what a crosspost repeats."""

    number: int
    act: Act
    author: str
    subreddit: Subreddit
    created_utc: int
    post: Post | None = None
    parent: SubmissionLine | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommentLine:
    """What a comment object is made from; `link` and `parent` are numbers of ids.

    Args:
        parent: The comment that it answers; None: it answers the submission.
    """

    number: int
    author: str
    subreddit: Subreddit
    created_utc: int
    link: int
    parent: int | None
    is_submitter: bool


def line_random(seed: int, number: int) -> random.Random:
    """What decides the contents of the line of this id, in whichever process."""
    return random.Random(f"{seed}/line/{number}")


def submission_object(line: SubmissionLine, seed: int) -> Fields:
    """The fields of a submission."""
    rng = line_random(seed, line.number)
    post_id, name = base36(line.number), line.subreddit.display_name
    title = texts.title(line.subreddit, rng)
    permalink = f"/r/{name}/comments/{post_id}/{texts.slug(title)}/"
    fields = _SUBMISSION | account(line.author) | _place(line.subreddit)
    fields |= {
        "created_utc": line.created_utc,
        "id": post_id,
        "num_comments": int(rng.expovariate(0.2)),
        "permalink": permalink,
        "retrieved_on": line.created_utc + rng.randrange(60 * _DAY_S, 90 * _DAY_S),
        "score": int(rng.lognormvariate(1.2, 1.3)),
        "subreddit_subscribers": 9_000 + 137 * line.subreddit.index + line.created_utc % 1_000,
        "title": title,
    }
    return fields | _content(line, seed, f"https://www.reddit.com{permalink}", rng)


def comment_object(line: CommentLine, seed: int) -> Fields:
    """The fields of a comment."""
    rng = line_random(seed, line.number)
    comment_id, link_id, name = base36(line.number), base36(line.link), line.subreddit.display_name
    parent = f"t3_{link_id}" if line.parent is None else f"t1_{base36(line.parent)}"
    # The title of a submission is in another file: its slug here is of the same kind, not the same.
    slug = texts.slug(texts.title(line.subreddit, line_random(seed, line.link)))
    return (
        _COMMENT
        | account(line.author)
        | _place(line.subreddit)
        | {
            "body": texts.in_voice_of(line.author, texts.comment(line.subreddit, rng)),
            "created_utc": line.created_utc,
            "id": comment_id,
            "is_submitter": line.is_submitter,
            "link_id": f"t3_{link_id}",
            "parent_id": parent,
            "permalink": f"/r/{name}/comments/{link_id}/{slug}/{comment_id}/",
            "retrieved_on": line.created_utc + rng.randrange(60 * _DAY_S, 90 * _DAY_S),
            "score": int(rng.lognormvariate(0.6, 1.0)) - (rng.random() < 0.05) * 3,
        }
    )


@lru_cache(maxsize=1 << 16)
def account(name: str) -> Fields:
    """The fields that follow from who wrote a line; to be copied, not changed."""
    code = random.Random(f"account/{name}")
    return {
        "author": name,
        "author_created_utc": _AUTHOR_SINCE + code.randrange(_AUTHOR_YEARS_S),
        "author_flair_richtext": [],
        "author_flair_type": "text",
        "author_fullname": f"t2_{base36(code.randrange(36**5, 36**6))}",
        "author_patreon_flair": False,
        "author_premium": code.random() < 0.02,
    }


def author_deleted(fields: Fields) -> Fields:
    """The object after its author was deleted."""
    left = {key: value for key, value in fields.items() if key not in _ACCOUNT_KEYS}
    return left | {"author": DELETED, "author_flair_text_color": "dark"}


def _place(subreddit: Subreddit) -> Fields:
    return {
        "subreddit": subreddit.display_name,
        "subreddit_id": f"t5_{base36(36**4 + 7_919 * subreddit.index)}",
        "subreddit_name_prefixed": f"r/{subreddit.display_name}",
    }


def _content(line: SubmissionLine, seed: int, self_url: str, rng: random.Random) -> Fields:
    domain = f"self.{line.subreddit.display_name}"
    as_text: Fields = {"is_self": True, "domain": domain, "thumbnail": "self", "url": self_url}
    if line.post is None and line.act is Act.SELF:
        text = texts.in_voice_of(line.author, texts.selftext(line.subreddit, rng))
        return as_text | {"selftext": text}
    if line.post is None:
        site = rng.choice(("news", "blog", "forum", "shop"))
        path = f"{base36(rng.randrange(36**5))}?ref=share&amp;page={rng.randrange(9)}"
        url = f"https://{site}.example.com/{path}"
        return {"domain": f"{site}.example.com", "thumbnail": "default", "url": url}
    if line.post.form is Form.CROSSPOST:
        return _crosspost(line, seed)
    fields = hosting.link_fields(seed, line.post, base36(line.number), self_url)
    if line.post.form is Form.INLINE:
        text = texts.selftext(line.subreddit, rng)
        return as_text | fields | {"selftext": hosting.text_with_images(seed, line.post, text)}
    shown = {"thumbnail": "image", "thumbnail_height": 140, "thumbnail_width": 140}
    return {"selftext": ""} | shown | fields


def _crosspost(line: SubmissionLine, seed: int) -> Fields:
    if line.parent is None:
        raise ValueError(f"submission {base36(line.number)}: a crosspost without its parent")
    parent = submission_object(line.parent, seed)
    shown = {key: parent[key] for key in ("url", "domain", "is_reddit_media_domain", "thumbnail")}
    kept = {key: parent[key] for key in ("post_hint", "preview") if key in parent}
    return shown | kept | {
        "crosspost_parent": f"t3_{parent['id']}",
        "crosspost_parent_list": [parent],
        "num_crossposts": 0,
    }  # fmt: skip
