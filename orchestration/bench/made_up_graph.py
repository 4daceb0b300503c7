"""Heavy-tailed INTERACTIONS of as many users as are asked for, in shards of memory-bounded size.

Both sides follow power laws: degrees of users are Pareto, subreddits are drawn by a Zipf law, half
of the time over all and half of the time within one of the user's own community, so that there is
something to learn. The first of them is an r/AskReddit: a sixth of the users are there. Every user
is a function of (seed, number) alone, and so are all files.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.compiled import compiled
from pipelines.contract import Run
from pipelines.tables import INTERACTIONS

USERS, SUBREDDITS, EDGES = 22_000_000, 40_000, 220_000_000
MONTHS = ("2024-01", "2024-02", "2024-03", "2024-04", "2024-05", "2024-06")
FIRST_UTC, MONTH_S = 1_704_067_200, 2_600_000
SHARD_USERS = 1 << 18
MAX_DEGREE = 500
COMMUNITY = 200  # subreddits
ZIPF_SHIFT = 2.0
ID_CHARS = 16
LETTERS = np.frombuffer(  # of base 32, sorted
    b"234567abcdefghijklmnopqrstuvwxyz", dtype=np.uint8
)

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class GraphSize:
    """What is made.

    Args:
        users, subreddits, edges: Of the graph; edges come out within some per cent.
        seed: Of everything.
    """

    users: int
    subreddits: int
    edges: int
    seed: int

    @staticmethod
    def of_scale(scale: float, seed: int) -> GraphSize:
        """A share of the users and edges of the whole; subreddits are always as many."""
        users, edges = int(USERS * scale), int(EDGES * scale)
        return GraphSize(users=users, subreddits=SUBREDDITS, edges=edges, seed=seed)


def write_interactions(size: GraphSize, run: Run, threads: int) -> int:
    """Publish INTERACTIONS of six months, unless they are there; returns their bytes."""
    folder = INTERACTIONS.path(run)
    if not folder.is_dir():
        made = folder.with_name(f"{folder.name}.making")
        for month in MONTHS:
            (made / f"month={month}").mkdir(parents=True, exist_ok=True)
        shards = _Shards(size, made)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(shards.write, range(-(-size.users // SHARD_USERS))))
        made.rename(folder)
    return sum(path.stat().st_size for path in INTERACTIONS.files(run))


class _Shards:
    """Writes users `SHARD_USERS` at a time, each month of them a file."""

    def __init__(self, size: GraphSize, folder: Path) -> None:
        self._size, self._folder = size, folder
        self._everywhere = _zipf(size.subreddits)
        self._within = _zipf(min(COMMUNITY, size.subreddits))
        self._exponent = _exponent(size.edges / size.users)
        # Popular subreddits are anywhere in the alphabet.
        rank = np.random.default_rng(size.seed).permutation(size.subreddits)
        self._name_of_rank = rank.astype(np.int64)
        names = [f"made_up_{number:05d}".encode() for number in range(size.subreddits)]
        self._names = np.array(names).view(np.uint8).reshape(size.subreddits, -1)

    def write(self, number: int) -> None:
        """The files of one shard."""
        start = number * SHARD_USERS
        stop = min(start + SHARD_USERS, self._size.users)
        offsets, places = _draw_edges(
            start,
            stop,
            self._size.seed,
            self._exponent,
            self._everywhere,
            self._within,
            self._name_of_rank,
        )
        user = np.repeat(np.arange(start, stop), np.diff(offsets))
        ids = _user_ids(np.arange(start, stop), self._size.users, self._size.seed)
        columns = _draw_activity(user, places, len(MONTHS), self._size.seed)
        for index, month in enumerate(MONTHS):
            chosen = np.flatnonzero((columns[0] <= index) & (index <= columns[1]))
            self._write_month(
                number, index, month, user[chosen], places[chosen], ids[user[chosen] - start]
            )

    def _write_month(
        self,
        number: int,
        index: int,
        month: str,
        user: Ints,
        place: Ints,
        ids: npt.NDArray[np.uint8],
    ) -> None:
        counts = _draw_month(user, place, index, self._size.seed)
        submissions, comments, score, first, last = counts
        table = pa.table(
            {
                "user_id": _strings(ids),
                "subreddit": _strings(self._names[place]),
                "active_month": pa.repeat(pa.scalar(month), len(user)),
                "num_submissions": pa.array(submissions),
                "num_comments": pa.array(comments),
                "score": pa.array(score),
                "first_utc": pa.array(first),
                "last_utc": pa.array(last),
            }
        )
        INTERACTIONS.write(self._folder / f"month={month}", table, f"part-{number:05d}")


def _zipf(size: int) -> Floats:
    """Cumulative shares of ranks 0 to size - 1."""
    weight = 1.0 / (np.arange(size) + ZIPF_SHIFT)
    cumulative: Floats = np.cumsum(weight) / weight.sum()
    return cumulative


def _exponent(mean: float) -> float:
    """Of the Pareto law whose whole numbers from 1 to MAX_DEGREE have this mean."""
    degrees = np.arange(1, MAX_DEGREE + 1, dtype=np.float64)
    low, high = 0.2, 5.0
    for _ in range(60):
        middle = (low + high) / 2
        if (degrees**-middle).sum() > mean:  # the sum over k of P(degree >= k)
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _strings(characters: npt.NDArray[np.uint8]) -> pa.StringArray:
    """Rows of equally many ASCII characters as texts, without a copy of each."""
    rows, width = characters.shape
    offsets = pa.py_buffer(np.arange(rows + 1, dtype=np.int32) * width)
    data = pa.py_buffer(np.ascontiguousarray(characters))
    return pa.StringArray.from_buffers(rows, offsets, data)


def _user_ids(user: Ints, users: int, seed: int) -> npt.NDArray[np.uint8]:
    """uint8 [n, 16]: ascending like keyed hashes that were sorted; the second half is a hash."""
    high = (user.astype(np.float64) / users * 2.0**40).astype(np.int64)
    low = _hashes(seed, 1, user)
    made = np.empty((len(user), ID_CHARS), dtype=np.uint8)
    for i in range(8):
        made[:, i] = LETTERS[(high >> (35 - 5 * i)) & 31]
        made[:, 8 + i] = LETTERS[(low >> (5 * i)) & 31]
    return made


kernel = compiled()


@kernel
def _mix(word: int) -> np.uint64:
    x = np.uint64(word)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@kernel
def _hash(a: int, b: int, c: int) -> np.uint64:
    golden = np.uint64(0x9E3779B97F4A7C15)
    state = _mix(golden + np.uint64(a))
    state = _mix(state + golden ^ np.uint64(b))
    return _mix(state + golden ^ np.uint64(c))


@kernel
def _hashes(seed: int, stream: int, user: Ints) -> Ints:
    hashed = np.empty(len(user), dtype=np.int64)
    for i in range(len(user)):
        hashed[i] = np.int64(_hash(seed, stream, user[i]) >> np.uint64(1))
    return hashed


@kernel
def _uniform(state: np.uint64) -> float:
    """In (0, 1)."""
    return (np.float64(state >> np.uint64(11)) + 0.5) * 2.0**-53


@kernel
def _draw_edges(
    start: int,
    stop: int,
    seed: int,
    exponent: float,
    everywhere: Floats,
    within: Floats,
    name_of_rank: Ints,
) -> tuple[Ints, Ints]:
    """(offsets [users + 1], subreddits by number of their name, ascending for each user)."""
    total = len(everywhere)
    communities = max(1, total // len(within))
    offsets = np.zeros(stop - start + 1, dtype=np.int64)
    places = np.empty((stop - start) * 16, dtype=np.int64)
    met = np.full(total, -1, dtype=np.int64)
    used = 0
    for user in range(start, stop):
        state = _hash(seed, 2, user)
        share = _uniform(state)
        wanted = int(min(share ** (-1.0 / exponent), float(MAX_DEGREE)))
        own = int(_hash(seed, 3, user) % np.uint64(communities)) * len(within)
        if used + wanted > len(places):
            larger = np.empty(2 * len(places) + wanted, dtype=np.int64)
            larger[:used] = places[:used]
            places = larger
        found = used
        for _ in range(8 * wanted):
            if found == used + wanted:
                break
            state = _mix(state + np.uint64(0x9E3779B97F4A7C15))
            draw = _uniform(state)
            if state & np.uint64(1):
                rank = np.searchsorted(everywhere, draw)
            else:
                rank = own + np.searchsorted(within, draw)
            place = name_of_rank[rank]
            if met[place] != user:
                met[place] = user
                places[found] = place
                found += 1
        places[used:found].sort()
        used = found
        offsets[user - start + 1] = used
    return offsets, places[:used].copy()


@kernel
def _draw_activity(user: Ints, place: Ints, months: int, seed: int) -> tuple[Ints, Ints]:
    """First and last month of each edge: most are of one month."""
    first, last = np.empty(len(user), dtype=np.int64), np.empty(len(user), dtype=np.int64)
    for edge in range(len(user)):
        state = _hash(seed + 4, user[edge], place[edge])
        first[edge] = int(_uniform(state) * months)
        more = int(-np.log(_uniform(_mix(state))) * 0.55)
        last[edge] = min(first[edge] + more, months - 1)
    return first, last


@kernel
def _draw_month(
    user: Ints, place: Ints, month: int, seed: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], Ints, Ints, Ints]:
    """Submissions, comments, score, first and last second of each edge in one month."""
    size = len(user)
    submissions, comments = np.empty(size, dtype=np.int32), np.empty(size, dtype=np.int32)
    score, first = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.int64)
    last = np.empty(size, dtype=np.int64)
    begin = FIRST_UTC + month * MONTH_S
    for edge in range(size):
        state = _hash(seed + 5 + month, user[edge], place[edge])
        actions = int(min(_uniform(state) ** -0.8, 5_000.0))
        state = _mix(state + np.uint64(1))
        submitted = min(actions, int(-np.log(_uniform(state)) * 0.25 * actions))
        submissions[edge], comments[edge] = submitted, actions - submitted
        state = _mix(state + np.uint64(1))
        score[edge] = int(-np.log(_uniform(state)) * 4.0 * actions) - 1
        state = _mix(state + np.uint64(1))
        first[edge] = begin + int(_uniform(state) * (MONTH_S - 1))
        state = _mix(state + np.uint64(1))
        rest = begin + MONTH_S - 1 - first[edge]
        last[edge] = first[edge] + (int(_uniform(state) * rest) if actions > 1 else 0)
    return submissions, comments, score, first, last
