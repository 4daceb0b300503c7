from __future__ import annotations

from orchestration.bench.refresh import Told, of_users

OLD, MOVED, NEW = (Told(name, (name[:1],), name) for name in ("a1", "a2", "b"))


def test_idle_users_may_differ_from_a_rebuild_and_active_ones_may_not() -> None:
    before = {"idle": OLD, "active": OLD, "gone": OLD}
    rebuilt = {"idle": MOVED, "active": NEW, "new": NEW}
    kept = {"idle": OLD, "active": NEW, "new": NEW}
    active = {"active", "new"}
    assert of_users(before, kept, rebuilt, active) == {
        "personas": 3,
        "active": 2,
        "active_share": 2 / 3,
        "evidence_changed": 2,
        "kept_differ": {"evidence": 1, "items": 0},
        "equal": True,
    }
    assert of_users(before, rebuilt, rebuilt, active)["equal"]  # all renewed
    for wrong in (
        kept | {"active": OLD},
        kept | {"idle": NEW},
        kept | {"gone": OLD},
        {"idle": OLD, "active": NEW},
    ):
        assert not of_users(before, wrong, rebuilt, active)["equal"]
