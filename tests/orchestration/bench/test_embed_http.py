import pytest

from embed.outcomes import Outcome
from orchestration.bench.embed_http import FAULTS, expected_of, planned, run


def test_the_plan_is_the_same_again_and_holds_every_fault() -> None:
    plan = planned(1_000)
    assert plan == planned(1_000) and len(plan) == 1_000
    assert {fault for _, fault in plan} == {*FAULTS, "fine"}
    assert expected_of("fine") is Outcome.OK


@pytest.mark.slow
def test_every_image_is_counted_as_planned_within_the_limits() -> None:
    result = run(500, quick=True)
    assert result["wrong"] == {}
    assert result["outcomes"]["counted"] == result["outcomes"]["expected"]
    assert (result["sent"], result["accounted"], result["private_reached"]) == (500, 500, 0)
    for host in result["hosts"].values():
        assert host["most_at_once"] <= host["limit_at_once"]
        assert host["most_in_1_s"] <= host["limit_per_s"] + 1
