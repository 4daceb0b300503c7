import pytest

from embed.outcomes import LIMITED, TRANSIENT, Outcome, outcome_of_status


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.OK),
        (206, Outcome.OK),
        (304, Outcome.CLIENT_ERROR),
        (401, Outcome.FORBIDDEN),
        (403, Outcome.FORBIDDEN),
        (404, Outcome.NOT_FOUND),
        (408, Outcome.TIMEOUT),
        (410, Outcome.NOT_FOUND),
        (418, Outcome.CLIENT_ERROR),
        (429, Outcome.RATE_LIMITED),
        (451, Outcome.FORBIDDEN),
        (500, Outcome.SERVER_ERROR),
        (503, Outcome.SERVER_ERROR),
    ],
)
def test_each_status_has_its_class(status: int, outcome: Outcome) -> None:
    assert outcome_of_status(status) is outcome


def test_success_and_refusals_of_the_owner_are_never_asked_again() -> None:
    assert not {Outcome.OK, Outcome.OPTED_OUT, Outcome.REMOVED, Outcome.NOT_FOUND} & (
        TRANSIENT | LIMITED
    )
