import numpy as np
import pytest

from orchestration.sample.activity import (
    READABLE,
    Act,
    Form,
    State,
    active_months,
    month_bounds,
)
from orchestration.sample.config import WorldConfig
from orchestration.sample.people import Role
from orchestration.sample.plan import NO_ROW, World, plan_world
from orchestration.sample.tastes import Kind, shows

_DAY_S = 86_400


def test_months_are_bounded_in_utc() -> None:
    assert month_bounds("2019-12") == (1_575_158_400, 1_577_836_800)


def test_acts_are_in_order_and_inside_the_months(full_plan: World) -> None:
    first, after = month_bounds("2019-08")[0], month_bounds("2019-10")[1]
    for acts in (full_plan.submissions, full_plan.comments):
        assert (np.diff(acts.created_utc) >= 0).all()
        assert first <= acts.created_utc[0] and acts.created_utc[-1] < after
    assert set(full_plan.comments.act) == {Act.COMMENT}
    assert set(full_plan.submissions.act) == {Act.SELF, Act.LINK, Act.IMAGE}
    assert 150_000 < len(full_plan.comments) + len(full_plan.submissions) < 190_000


def test_new_users_act_in_the_last_month_only(full_plan: World) -> None:
    new = np.array([person.is_new for person in full_plan.people])
    acts = full_plan.comments
    assert acts.created_utc[new[acts.user]].min() >= month_bounds("2019-10")[0]
    assert acts.created_utc[~new[acts.user]].min() < month_bounds("2019-08")[0] + _DAY_S


@pytest.mark.parametrize("share", [0.1, 0.27, 0.9])
def test_users_come_go_quiet_and_return(share: float) -> None:
    months = tuple(f"2019-{month:02d}" for month in range(1, 13))
    config = WorldConfig(users=1500, months=months, new_user_share=0.0, active_share=share)
    world = plan_world(config)
    edges = [month_bounds(month)[0] for month in months]
    acts = world.comments
    month = np.searchsorted(edges, acts.created_utc, side="right") - 1
    active = np.zeros((len(world.people), len(months)), bool)
    active[acts.user, month] = True
    meant = [active_months(config, person) for person in world.people]
    # Nobody does anything in another month, and everybody something in nearly all of their own.
    assert not any(
        active[i, m] for i, own in enumerate(meant) for m in range(12) if months[m] not in own
    )
    assert active.any(axis=1).all()
    assert np.mean([len(own) for own in meant]) / 12 == pytest.approx(share, abs=0.06)
    back = (active[:, :-2] & ~active[:, 1:-1] & active[:, 2:]).any(axis=1)
    assert back.mean() > 0.01


def test_all_users_active_is_the_world_as_it_was(full_plan: World) -> None:
    assert {len(active_months(full_plan.config, p)) for p in full_plan.people} == {1, 3}


def test_other_tastes_are_a_burst_and_the_own_one_is_not(full_plan: World) -> None:
    spans: dict[Role, list[float]] = {Role.OWN: [], Role.OFF: []}
    acts = full_plan.comments
    order = np.lexsort((acts.created_utc, acts.subreddit, acts.user))
    pair = acts.user[order].astype(np.int64) * 1000 + acts.subreddit[order]
    starts = np.flatnonzero(np.diff(pair, prepend=-1))
    times = acts.created_utc[order]
    ends = np.append(starts[1:], len(pair)) - 1
    span_days = dict(
        zip(pair[starts].tolist(), (times[ends] - times[starts]) / _DAY_S, strict=True)
    )
    for person in full_plan.people:
        for habit in person.habits:
            key = person.index * 1000 + habit.subreddit
            if habit.role in spans and habit.visits >= 4 and not person.is_new and key in span_days:
                spans[habit.role].append(span_days[key])
    assert max(spans[Role.OFF]) <= 7
    assert np.median(spans[Role.OWN]) > 40


def test_images_follow_the_poster_and_the_place(full_plan: World) -> None:
    posts = [post for post in full_plan.posts if post.parent < 0]
    on_taste = [
        shows(image.picture, full_plan.tastes[full_plan.people[post.user].taste])
        for post in posts
        for image in post.images
    ]
    in_place = {
        kind: [
            shows(image.picture, full_plan.subreddits[post.subreddit].factors)
            for post in posts
            if full_plan.subreddits[post.subreddit].kind is kind
            for image in post.images
        ]
        for kind in (Kind.TASTE, Kind.HUB)
    }
    assert np.mean(on_taste) == pytest.approx(0.75, abs=0.04)
    assert np.mean(in_place[Kind.TASTE]) == pytest.approx(0.8, abs=0.05)
    assert np.mean(in_place[Kind.HUB]) > 0.8
    counts = np.bincount(
        [post.user for post in posts for _ in post.images], minlength=len(full_plan.people)
    )
    assert counts.tolist() == [person.num_images for person in full_plan.people]


def test_all_forms_and_states_occur_and_most_images_can_be_read(full_plan: World) -> None:
    images = [image for post in full_plan.posts if post.parent < 0 for image in post.images]
    assert {post.form for post in full_plan.posts} == set(Form)
    assert {image.state for image in images} == set(State)
    assert [image.number for image in images] == list(range(len(images)))
    assert np.mean([image.state in READABLE for image in images]) > 0.93
    for image in images:
        assert (image.drawn_as < image.number) == (image.state is State.NEAR_DUPLICATE)


def test_crossposts_repeat_an_earlier_post_of_the_user_elsewhere(full_plan: World) -> None:
    crossposts = [post for post in full_plan.posts if post.parent >= 0]
    assert crossposts
    for post in crossposts:
        parent = full_plan.posts[post.parent]
        assert (parent.user, parent.images) == (post.user, post.images)
        assert parent.subreddit != post.subreddit and parent.created_utc < post.created_utc


def test_comments_are_on_earlier_submissions_of_their_subreddit(full_plan: World) -> None:
    known = full_plan.links != NO_ROW
    rows, comments = full_plan.links[known], full_plan.comments.where(known)
    assert known.mean() > 0.9
    assert (full_plan.submissions.subreddit[rows] == comments.subreddit).all()
    assert (full_plan.submissions.created_utc[rows] <= comments.created_utc).all()


@pytest.mark.parametrize("months", [("2019-08",), ("2019-08", "2019-12")])
def test_all_acts_are_in_months_that_have_a_dump(months: tuple[str, ...]) -> None:
    world = plan_world(WorldConfig(users=150, subreddits=30, months=months))
    assert any(person.is_new for person in world.people)
    for acts in (world.submissions, world.comments):
        inside = [
            (acts.created_utc >= first) & (acts.created_utc < after)
            for first, after in map(month_bounds, months)
        ]
        assert np.sum(inside, axis=0).tolist() == [1] * len(acts)
        assert all(rows.any() for rows in inside)
