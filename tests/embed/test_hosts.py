import pytest

from embed.hosts import MAIN_HOSTS, Host, HostLimits, Hosts, parse_host_limits
from pipelines.contract import ConfigError


def host(outage_s: float = 0.0) -> Host:
    limits = HostLimits(at_once=2, per_s=4)
    return Host(name="a.example", limits=limits, patience=3, cool_down_s=10.0, outage_s=outage_s)


def test_requests_are_spaced_evenly_without_a_burst_after_a_pause() -> None:
    known = host()
    assert [known.due_in(at) for at in (0.0, 0.1, 0.25, 9.0, 9.0)] == [0, 0.15, 0, 0, 0.25]


def test_a_hold_delays_and_never_shortens() -> None:
    known = host()
    known.hold(0.0, 5.0)
    known.hold(1.0, 1.0)
    assert known.held_for(1.0) == 4.0
    assert known.due_in(1.0) == 4.0
    assert known.due_in(5.0) == 0


def test_a_host_is_closed_after_its_patience_and_opened_by_an_answer() -> None:
    known = host()
    for answered in (False, False, True, False, False):
        known.note(0.0, answered)
    assert known.closed_for(0.0) == 0
    known.note(0.0, False)
    assert known.closed_for(4.0) == 6.0 and known.closed_for(10.0) == 0
    known.note(10.0, False)
    assert known.closed_for(19.0) == 1.0
    known.note(20.0, True)
    known.note(20.0, False)
    assert known.closed_for(20.0) == 0


def test_a_closed_host_is_given_up_once_its_outage_has_lasted() -> None:
    patient, other = host(outage_s=25.0), host()
    for at in (0.0, 1.0, 2.0, 12.0, 22.0):
        patient.note(at, False)
        other.note(at, False)
    assert other.is_given_up(2.1) and not patient.is_given_up(24.9)
    assert patient.is_given_up(25.0) and not patient.is_given_up(32.0)  # open again then
    patient.note(32.0, True)
    for at in (33.0, 34.0, 35.0):
        patient.note(at, False)
    assert patient.closed_for(35.0) and not patient.is_given_up(35.0)


def test_an_outage_is_waited_out_for_hosts_that_are_named() -> None:
    hosts = Hosts(outage_s=600.0)
    assert (hosts["i.redd.it"].outage_s, hosts["a.example"].outage_s) == (600.0, 0.0)


def test_the_main_hosts_have_limits_and_all_others_the_same() -> None:
    hosts = Hosts()
    assert hosts["i.redd.it"].limits == HostLimits(at_once=16, per_s=40)
    assert hosts["imgur.com"].limits == HostLimits(at_once=2, per_s=2)
    assert hosts["a.example"].limits == hosts["b.example"].limits == hosts.others
    assert hosts["a.example"] is hosts["a.example"]
    assert len(parse_host_limits(MAIN_HOSTS)) == 5


def test_several_crawlers_together_keep_the_limits() -> None:
    limits = HostLimits(at_once=16, per_s=40)
    assert limits.shared_by(4) == HostLimits(at_once=4, per_s=10)
    assert limits.shared_by(16) == HostLimits(at_once=1, per_s=2.5)
    # More crawlers than requests at once: each request needs a permit.
    assert limits.shared_by(100) == HostLimits(at_once=1, per_s=0.4, of_all=16)


@pytest.mark.parametrize("word", ["i.redd.it", "i.redd.it=8", "=1/1", "a=1/x", "a=1/1/1", "a=0/1"])
def test_a_word_that_gives_no_limits_is_named(word: str) -> None:
    with pytest.raises(ConfigError, match="limits"):
        parse_host_limits([word])
