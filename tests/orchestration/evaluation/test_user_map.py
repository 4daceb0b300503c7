import numpy as np
import polars as pl

from orchestration.evaluation.user_map import user_map


def users(number: int, dims: int = 8) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    centres = np.repeat(np.eye(dims)[:2], number // 2, axis=0)
    return pl.DataFrame(
        {
            "user_id": [f"u{i:03d}" for i in range(number)],
            "clip_embedding": (centres + rng.normal(size=(number, dims)) * 0.05).tolist(),
        },
        schema={"user_id": pl.String, "clip_embedding": pl.Array(pl.Float32, dims)},
    )


def test_alike_users_lie_together() -> None:
    table = user_map(users(40), None, 100, seed=0)
    place = table.select("x", "y").to_numpy()
    left, right = place[:20], place[20:]
    apart = np.linalg.norm(left.mean(0) - right.mean(0))
    assert apart > 3 * np.linalg.norm(left - left.mean(0), axis=1).mean()
    assert table["taste"].to_list() == [""] * 40


def test_who_is_on_the_last_map_stays_and_who_is_not_lies_beside_the_nearest() -> None:
    last = user_map(users(40), None, 100, seed=0)
    known = last.filter(~pl.col("user_id").is_in(["u003", "u033"]))
    table = user_map(users(40), None, 100, seed=1, last=known)
    assert table.join(known, on="user_id", how="semi").equals(known)
    for user, kin in (("u003", "u0"), ("u033", "u0")):
        ((x, y),) = table.filter(pl.col("user_id") == user).select("x", "y").iter_rows()
        (beside,) = known.filter((pl.col("x") == x) & (pl.col("y") == y))["user_id"].head(1)
        assert (beside < "u020") is (user < "u020") and beside.startswith(kin)


def test_a_new_map_is_drawn_where_few_are_on_the_last_one() -> None:
    fresh = user_map(users(40), None, 100, seed=0)
    last = fresh.head(10).with_columns(x=pl.lit(0.0), y=pl.lit(0.0))
    assert user_map(users(40), None, 100, seed=0, last=last).equals(fresh)
    assert user_map(users(2), None, 100, seed=0).height == 2
