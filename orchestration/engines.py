"""Engines that steps share: a Ray cluster, joined or started once for a whole run."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile

from orchestration.profiles import Profile

# The runner tells the progress; the engines' own lines would only break it. Nobody's usage is
# reported.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_LOG_LEVEL": "ERROR",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    # What is tried again is no failure yet: Serve's own calls, each time that it is shut down.
    "RAY_enable_output_error_log_if_still_retry": "0",
    "LANCEDB_LOG": "error",
}
STDERR = 2  # the descriptor: the core is no Python
NOTICE = b"Set ray log level from environment variable"


@contextmanager
def ray_cluster(profile: Profile) -> Iterator[Callable[[], None]]:
    """A context whose value starts Ray (or joins the profile's cluster) when first called.

    Starting costs seconds, so a run that skips every step never pays for it.
    """
    started = False

    def start() -> None:
        nonlocal started
        if not started:
            started = _init(profile)

    try:
        yield start
    finally:
        if started:
            import ray

            ray.shutdown()


def quiet_engines() -> None:
    """Have the engines that are started from here on say nothing but errors."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # A filter, for Serve sets the level of its logger anew whenever it starts.
    logging.getLogger("ray.serve").addFilter(lambda record: record.levelno >= logging.WARNING)
    # Processes that are started are forked first; they run another program before anything else.
    warnings.filterwarnings("ignore", message="lancedb fork support", category=RuntimeWarning)


def _init(profile: Profile) -> bool:
    """Start or join Ray; False if this process has it already, as somebody else's."""
    import ray

    if ray.is_initialized():
        return False
    common = {"log_to_driver": False, "logging_level": logging.ERROR}
    if profile.ray_address:
        with without_notice():
            ray.init(address=profile.ray_address, **common)
    else:
        # CPUs are tokens of Ray's scheduler: a controller beside each worker needs one of its own,
        # so a machine of two cores still offers four.
        num_cpus = max(4, os.cpu_count() or 1)
        with without_notice():
            ray.init(
                num_cpus=num_cpus,
                object_store_memory=profile.object_store_bytes,
                include_dashboard=False,
                **common,
            )
    return True


@contextmanager
def without_notice() -> Iterator[None]:
    """Keep what Ray's core says of its own log level off the terminal; all else passes, later."""
    terminal = os.dup(STDERR)
    with TemporaryFile() as held:
        os.dup2(held.fileno(), STDERR)
        try:
            yield
        finally:
            os.dup2(terminal, STDERR)
            os.close(terminal)
            held.seek(0)
            os.write(STDERR, b"".join(line for line in held if NOTICE not in line))
