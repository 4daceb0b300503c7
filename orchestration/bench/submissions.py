"""Lines of a generated RS month: seed, times -> lines with the keys of a file of 2024 or later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestration.bench.comments import FIRST_LINK, decimals, edits, metas, slug
from orchestration.bench.people import People, Place
from orchestration.bench.pictures import Pictures
from orchestration.bench.templates import Template
from orchestration.bench.vocabulary import Vocabulary, base36_many

# What a submission shows, and its share of all.
SHARES: Mapping[str, float] = {
    "self": 0.34, "image": 0.26, "gallery": 0.13, "video": 0.09,
    "imgur": 0.02, "link": 0.10, "crosspost": 0.06,
}  # fmt: skip
KINDS = tuple(SHARES)
TEMPLATES_PER_KIND = 600
NULL_GALLERIES = 0.12
PREVIEWS = 0.7  # Of the submissions that show or link to something outside themselves.
ADS = 0.004  # Submissions with some twenty members more.
REMOVED = 0.16
OVER_18 = 0.45
_REMOVERS = (b"moderator",) * 6 + (b"reddit",) * 3 + (b"deleted",) * 4 + (b"automod_filtered",) * 2
_STATIC: dict[str, Any] = {
    "all_awardings": [], "allow_live_comments": False, "approved_at_utc": None,
    "approved_by": None, "archived": False, "awarders": [], "banned_at_utc": None,
    "banned_by": None, "can_gild": False, "can_mod_post": False, "category": None,
    "clicked": False, "content_categories": None, "discussion_type": None, "downs": 0,
    "gilded": 0, "gildings": {}, "hidden": False, "hide_score": False,
    "is_created_from_ads_ui": False, "is_meta": False, "is_original_content": False,
    "is_self": False, "is_video": False, "is_reddit_media_domain": False, "likes": None,
    "media_embed": {}, "media_only": False, "mod_note": None, "mod_reason_by": None,
    "mod_reason_title": None, "mod_reports": [], "num_crossposts": 0, "num_reports": None,
    "pinned": False, "pwls": 6, "quarantine": False, "removal_reason": None, "removed_by": None,
    "report_reasons": None, "saved": False, "secure_media_embed": {}, "send_replies": True,
    "suggested_sort": None, "thumbnail_height": None, "thumbnail_width": None,
    "top_awarded_type": None, "total_awards_received": 0, "treatment_tags": [],
    "user_reports": [], "view_count": None, "visited": False, "wls": 6,
}  # fmt: skip
_SLOTS: dict[str, Any] = {
    "_meta": "@=meta@", "author": "@=account@", "created": "@=created@",
    "created_utc": "@=created@", "crosspost_parent": "@?crosspost_parent@",
    "crosspost_parent_list": "@?crosspost_parent_list@", "domain": "@domain@",
    "edited": "@=edited@", "gallery_data": "@?gallery_data@", "id": "@id@", "media": "@=media@",
    "media_metadata": "@?media_metadata@", "name": "t3_@id@", "num_comments": "@=num_comments@",
    "over_18": "@=over_18@", "permalink": "/r/@name@/comments/@id@/@slug@/",
    "preview": "@?preview@", "removed_by_category": "@=removed@", "retrieved_on": "@=retrieved@",
    "score": "@=score@", "secure_media": "@=media@", "selftext": "@selftext@",
    "subreddit": "@=place@", "thumbnail": "@thumbnail@", "title": "@title@", "ups": "@=score@",
    "upvote_ratio": "@=ratio@", "url": "@url@", "url_overridden_by_dest": "@?dest@",
}  # fmt: skip
_AD_KEYS = (
    "ad_business", "ad_promoted_user_posts", "ad_supplementary_text_md", "ad_user_targeting",
    "adserver_click_url", "adserver_imp_pixel", "app_store_data", "call_to_action", "campaign_id",
    "domain_override", "embed_type", "embed_url", "href_url", "impression_id",
    "impression_id_str", "is_survey_ad", "mobile_ad_url", "outbound_link", "product_ids",
    "promoted", "promoted_by", "promoted_display_name", "promoted_url", "third_party_tracking",
)  # fmt: skip
_IMAGE = {"is_reddit_media_domain": True, "post_hint": "image", "thumbnail_height": 140,
          "thumbnail_width": 140}  # fmt: skip
_OF_KIND: Mapping[str, dict[str, Any]] = {
    "self": {"is_self": True},
    "image": _IMAGE,
    "gallery": {"is_gallery": True, "thumbnail_height": 140, "thumbnail_width": 140},
    "video": _IMAGE | {"is_video": True, "post_hint": "hosted:video"},
    "imgur": _IMAGE | {"is_reddit_media_domain": False},
    "link": {"post_hint": "link", "thumbnail_height": 78, "thumbnail_width": 140},
    "crosspost": {"thumbnail_height": 140, "thumbnail_width": 140},
}

_NAME = b'"name":"'

Values = dict[str, bytes]


class Submissions:
    """Makes the lines of a month of submissions.

    Args:
        rng: Decides everything.
        num_accounts: How many people write.
    """

    def __init__(self, rng: np.random.Generator, num_accounts: int) -> None:
        self._rng = rng
        self._vocabulary = Vocabulary(rng)
        self._people = People(rng, self._vocabulary, num_accounts)
        self._pictures = Pictures(rng)
        self._templates = {
            kind: [Template.of(_fields(rng, kind)) for _ in range(TEMPLATES_PER_KIND)]
            for kind in KINDS
        }
        self._next_id = FIRST_LINK

    def lines(self, created_utc: NDArray[np.int64]) -> list[bytes]:
        """A line for each time, without line breaks."""
        num, rng = len(created_utc), self._rng
        kinds = rng.choice(len(KINDS), num, p=list(SHARES.values())).tolist()
        num_parents = kinds.count(KINDS.index("crosspost"))
        shown = rng.choice(KINDS.index("crosspost"), num_parents).tolist()
        parents = self._objects(created_utc[:num_parents] - 86_400, shown, iter(()))
        return self._objects(created_utc, kinds, iter(parents))

    def _objects(
        self, created_utc: NDArray[np.int64], kinds: list[int], parents: Any
    ) -> list[bytes]:
        columns = self._columns(created_utc)
        places = self._people.places(len(kinds))
        picks = self._rng.integers(0, TEMPLATES_PER_KIND, len(kinds)).tolist()
        names, lines = tuple(columns), []
        for kind, place, pick, row in zip(
            kinds, places, picks, zip(*columns.values(), strict=True), strict=True
        ):
            values = dict(zip(names, row, strict=True))
            values |= {"name": place.name, "place": place.submission}
            self._show(KINDS[kind], values, place, parents)
            template = self._templates[KINDS[kind]][pick]
            lines.append(template.text % tuple([values[slot] for slot in template.slots]))
        return lines

    def _columns(self, created_utc: NDArray[np.int64]) -> dict[str, list[bytes]]:
        """What is drawn for all lines at once."""
        num, rng = len(created_utc), self._rng
        numbers = self._next_id + np.cumsum(rng.integers(1, 5, num))
        self._next_id = int(numbers[-1]) if num else self._next_id
        titles = self._vocabulary.texts(num, 8, 0.5)
        retrieved = created_utc + rng.integers(5, 60, num)
        ratios = np.where(rng.random(num) < 0.63, 1.0, rng.integers(35, 100, num) / 100).tolist()
        removed = [b"null"] * num
        for position in np.flatnonzero(rng.random(num) < REMOVED).tolist():
            removed[position] = b'"%b"' % _REMOVERS[position % len(_REMOVERS)]
        nothing = [b""] * num
        return {
            "meta": metas(rng, retrieved, 0.04, 0.14, b"moderator"),
            "account": self._people.accounts(num),
            "created": decimals(created_utc),
            "edited": edits(rng, created_utc, 0.06),
            "id": base36_many(numbers, 7),
            "num_comments": decimals(rng.geometric(0.25, num) ** 2 - 1),
            "over_18": [b"true" if luck < OVER_18 else b"false" for luck in rng.random(num)],
            "ratio": [b"%d" % r if r == 1 else b"%.2f" % r for r in ratios],
            "removed": removed,
            "retrieved": decimals(retrieved),
            "score": decimals(np.minimum(rng.geometric(0.3, num) ** 3 - 1, 90_000)),
            "slug": [slug(title) for title in titles],
            "title": titles,
            "selftext": self._vocabulary.texts(num, 50, 1.1),
            "media": [b"null"] * num,
            **dict.fromkeys(
                ("crosspost_parent", "crosspost_parent_list", "gallery_data", "media_metadata",
                 "preview", "dest"),
                nothing,
            ),
        }  # fmt: skip

    def _show(self, kind: str, values: Values, place: Place, parents: Any) -> None:
        """Fill in what a submission of this kind shows."""
        code, over_18 = self._pictures.code(), values["over_18"] == b"true"
        page = b"https://www.reddit.com/r/%b/comments/%b/%b/" % (
            place.name, values["id"], values["slug"],
        )  # fmt: skip
        if kind == "self":
            removed = values["removed"] != b"null"
            text = b"[removed]" if removed else values["selftext"]
            values |= {"domain": b"self.%b" % place.name, "url": page, "selftext": text}
            values["thumbnail"] = b"nsfw" if over_18 else b"self"
            return
        values |= {"selftext": b"", "thumbnail": b"nsfw" if over_18 else b"default"}
        host, enabled = "preview.redd.it", True
        if kind == "image":
            values |= {"domain": b"i.redd.it", "url": b"https://i.redd.it/%b.jpeg" % code}
        elif kind == "gallery":
            self._gallery(values, over_18)
            return
        elif kind == "video":
            values |= {"domain": b"v.redd.it", "url": b"https://v.redd.it/%b" % code}
            values["media"] = self._pictures.video(code)
            host, enabled = "external-preview.redd.it", False
        elif kind == "imgur":
            url = b"https://i.imgur.com/%b.jpg" if code[0] & 1 else b"https://imgur.com/%b"
            values |= {"domain": b"i.imgur.com", "url": url % code[:7]}
            host = "external-preview.redd.it"
        elif kind == "link":
            url = b"https://news%d.example.com/%b/%b?ref=share&page=%b"
            values["url"] = url % (code[0] % 10, values["slug"], code, code[:1])
            values["domain"] = b"news%d.example.com" % (code[0] % 10)
            host, enabled = "external-preview.redd.it", False
        else:
            parent = _without_meta(next(parents))
            name = parent[parent.index(_NAME) + len(_NAME) :][:10]
            values["crosspost_parent"] = b',"crosspost_parent":"%b"' % name
            values["crosspost_parent_list"] = b',"crosspost_parent_list":[%b]' % parent
            values |= {"domain": b"i.redd.it", "url": b"https://i.redd.it/%b.png" % code}
        values["dest"] = b',"url_overridden_by_dest":"%b"' % values["url"]
        if self._rng.random() < PREVIEWS:
            values["preview"] = self._pictures.preview(code, over_18, host, enabled)

    def _gallery(self, values: Values, over_18: bool) -> None:
        url = b"https://www.reddit.com/gallery/%b" % values["id"]
        values |= {"domain": b"reddit.com", "url": url}
        values["dest"] = b',"url_overridden_by_dest":"%b"' % url
        if self._rng.random() < NULL_GALLERIES:
            values |= {"gallery_data": b',"gallery_data":null'}
            values |= {"media_metadata": b',"media_metadata":null'}
            return
        num_items = 1 + int(self._rng.geometric(0.3))
        data, media = self._pictures.gallery(num_items, over_18)
        values |= {"gallery_data": data, "media_metadata": media}


def _without_meta(line: bytes) -> bytes:
    """The object without its first member, which the archive adds and parents have not."""
    return b"{" + line[line.index(b"},") + 2 :]


def _fields(rng: np.random.Generator, kind: str) -> dict[str, Any]:
    """Members of one submission of a kind that only flags and flairs set apart."""
    luck = rng.random(8)
    fields = _STATIC | _SLOTS | _OF_KIND[kind]
    fields |= {
        "contest_mode": bool(luck[0] < 0.002),
        "distinguished": "moderator" if luck[1] < 0.01 else None,
        "is_crosspostable": bool(luck[2] < 0.8),
        "is_robot_indexable": bool(luck[2] < 0.8),
        "locked": bool(luck[3] < 0.03),
        "no_follow": bool(luck[4] < 0.6),
        "spoiler": bool(luck[5] < 0.01),
        "stickied": bool(luck[1] < 0.002),
        "parent_whitelist_status": "all_ads" if luck[6] < 0.5 else None,
        "whitelist_status": "all_ads" if luck[6] < 0.5 else None,
    } | _flair(rng)
    if luck[7] < ADS:
        fields |= dict.fromkeys(_AD_KEYS) | {"promoted": True, "events": [], "is_blank": False}
    return fields


def _flair(rng: np.random.Generator) -> dict[str, Any]:
    none: dict[str, Any] = {"background_color": "", "css_class": None, "richtext": []}
    none |= {"text": None, "text_color": "dark", "type": "text"}
    if rng.random() < 0.45:
        text = f"flair {rng.integers(0, 400)}"
        none |= {"background_color": "#46d160", "richtext": [{"e": "text", "t": text}]}
        none |= {"text": text, "type": "richtext", "template_id": f"{rng.integers(10**12)}"}
    return {f"link_flair_{key}": value for key, value in none.items()}
