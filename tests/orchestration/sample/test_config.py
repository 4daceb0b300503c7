import pytest

from orchestration.sample.config import WorldConfig
from pipelines.contract import ConfigError


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("users", 0),
        ("subreddits", 29),
        ("seed", -1),
        ("image_size", 31),
        ("image_quality", 96),
        ("poster_share", 1.1),
        ("new_user_share", -0.1),
        ("active_share", 0),
        ("active_share", 1.1),
        ("shard_images", 0),
        ("months", ()),
        ("months", ("2019-13",)),
        ("months", ("2019-09", "2019-08")),
        ("months", ("2019-08", "2019-08")),
    ],
)
def test_a_wrong_value_is_named(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{field}="):
        WorldConfig(**{field: value})  # type: ignore[arg-type]
