"""What the sample world is told."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pipelines.contract import ConfigError

# 15 tastes need a taste subreddit each; half of all subreddits are taste subreddits.
MIN_SUBREDDITS = 30
RULES = 7  # Raise it with every change that changes a byte of a world.
MIN_IMAGE_SIZE = 32  # embed.tiny_clip.pictures draws nothing smaller.
_MONTH = re.compile(r"(20\d\d)-(0[1-9]|1[0-2])")


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """Everything that changes the bytes of a sample world.

    Args:
        users: Made-up users with a taste.
        subreddits: Of all kinds: half show a taste, a twelfth are hubs, the others are mixed.
        months: Months of the dumps, "YYYY-MM", ascending.
        seed: Of everything random.
        image_size: Side of the square pictures, pixels.
        image_quality: JPEG quality, 1 to 95.
        poster_share: Share of users who post images.
        new_user_share: Share of users who appear in the last month only.
        active_share: Share of users who do anything in an average month. Below 1, users come, go
            quiet for months, and return.
        shard_images: Rows of one shard of the image archive.
        rules: Version of the code that makes worlds; not for setting. Worlds that were made by
            other rules are made again.
    """

    users: int = 2000
    subreddits: int = 120
    months: tuple[str, ...] = ("2019-08", "2019-09", "2019-10")
    seed: int = 0
    image_size: int = 160
    image_quality: int = 85
    poster_share: float = 0.4
    new_user_share: float = 0.08
    active_share: float = 1.0
    shard_images: int = 512
    rules: int = field(default=RULES, init=False)

    def __post_init__(self) -> None:
        _at_least("users", self.users, 1)
        _at_least("subreddits", self.subreddits, MIN_SUBREDDITS)
        _at_least("seed", self.seed, 0)
        _at_least("image_size", self.image_size, MIN_IMAGE_SIZE)
        _at_least("shard_images", self.shard_images, 1)
        if not 1 <= self.image_quality <= 95:
            raise ConfigError(f"image_quality={self.image_quality}: expected 1 to 95")
        for name in ("poster_share", "new_user_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}={getattr(self, name)}: expected 0 to 1")
        if not 0 < self.active_share <= 1:
            raise ConfigError(f"active_share={self.active_share}: expected above 0, at most 1")
        wrong = [month for month in self.months if not _MONTH.fullmatch(month)]
        if wrong or not self.months or list(self.months) != sorted(set(self.months)):
            raise ConfigError(
                f"months={self.months!r}: expected distinct ascending months such as '2019-08'"
            )


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"{name}={value}: expected at least {least}")
