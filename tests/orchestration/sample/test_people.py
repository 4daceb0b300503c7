from collections import Counter
from dataclasses import replace

import pytest

from orchestration.sample.config import WorldConfig
from orchestration.sample.lexicon import VALUES
from orchestration.sample.people import MAX_IMAGES, Role, plan_people, user_name
from orchestration.sample.plan import World
from orchestration.sample.tastes import Kind


def test_names_are_distinct_whatever_the_case() -> None:
    names = [user_name(3, index) for index in range(50_000)]
    plain = {name.lower().replace("_", "").replace("-", "") for name in names}
    assert len(plain) == len(names)
    assert all(8 <= len(name) <= 20 for name in names)


def test_names_tell_no_taste_and_look_like_no_bot() -> None:
    words = {
        word.lower()
        for values in VALUES.values()
        for value, entry in values.items()
        for word in (value, entry.prefix, entry.suffix)
    }
    for index in range(20_000):
        name = user_name(0, index).lower()
        assert "bot" not in name
        assert not any(word in name for word in words), name


def test_a_name_beyond_all_names_is_refused() -> None:
    with pytest.raises(ValueError, match="index=-1"):
        user_name(0, -1)


def test_population_is_as_planned(full_plan: World) -> None:
    people, subreddits = full_plan.people, full_plan.subreddits
    own = Counter(len(person.subreddits(Role.OWN)) for person in people)
    assert set(own) == {1, 2, 3, 4}
    assert 0.37 < (own[3] + own[4]) / len(people) < 0.47
    posters = [person for person in people if person.num_images]
    assert 0.40 < len(posters) / len(people) < 0.5
    assert {1, MAX_IMAGES} <= {person.num_images for person in posters}
    assert max(person.num_images for person in posters) == MAX_IMAGES
    assert 0.05 < sum(person.is_new for person in people) / len(people) < 0.11
    assert set(Counter(person.taste for person in people)) == set(range(15))
    for person in people:
        kinds = {role: [subreddits[s] for s in person.subreddits(role)] for role in Role}
        assert all(s.taste == person.taste for s in kinds[Role.OWN])
        assert all(s.taste != person.taste and s.kind is Kind.TASTE for s in kinds[Role.OFF])
        assert 2 <= len(kinds[Role.MIXED]) <= 6 and 2 <= len(kinds[Role.HUB]) <= 4
        assert len({h.subreddit for h in person.habits}) == len(person.habits)


def test_visits_are_few_at_home_and_many_elsewhere(full_plan: World) -> None:
    visits = {
        role: [h.visits for p in full_plan.people for h in p.habits if h.role is role]
        for role in Role
    }
    mean = {role: sum(counts) / len(counts) for role, counts in visits.items()}
    assert mean[Role.OWN] == pytest.approx(4, abs=0.2)
    assert mean[Role.OFF] == pytest.approx(9, abs=0.3)
    assert mean[Role.HUB] > 12


def test_more_users_change_none_of_the_first(full_plan: World) -> None:
    config = replace(WorldConfig(), users=50)
    people = plan_people(config, full_plan.subreddits, full_plan.tastes)
    assert people == full_plan.people[:50]
