"""The draws of `graph.blocks` compiled for CPUs: the same numbers, edge by edge.

torch makes every candidate of every row as a tensor; here a row stops when it has enough.
"""

from __future__ import annotations

import numpy as np

from pipelines.compiled import compiled

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_FEISTEL_ROUNDS = 6

kernel = compiled()


@kernel
def _mix(x):
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return x ^ (x >> np.uint64(31))


@kernel
def hashed(state, word):
    """`hash_words` with one more word."""
    return _mix((state + _GOLDEN) ^ np.uint64(word))


@kernel
def _uniform(state):
    return (np.float64(state >> np.uint64(11)) + 0.5) * 2.0**-53


@kernel
def uniforms(state, words, out):
    """`counter_random.uniform` of the words hashed so far, `state`, with one more."""
    for i in range(len(words)):
        out[i] = _uniform(hashed(np.uint64(state), words[i]))


@kernel
def _permuted(index, size, half_bits, key):
    """`counter_random.permuted` of one number."""
    mask = (np.uint64(1) << half_bits) - np.uint64(1)
    value = np.uint64(index)
    while True:
        left, right = value >> half_bits, value & mask
        for number in range(_FEISTEL_ROUNDS):
            mixed = _mix(((key + np.uint64(number)) * _GOLDEN) ^ right) & mask
            left, right = right, left ^ mixed
        value = (left << half_bits) | right
        if value < np.uint64(size):
            return np.int64(value)


@kernel
def _half_bits(size):
    bits = 0
    rest = size - 1
    while rest > 0:
        bits += 1
        rest >>= 1
    return np.uint64(max(1, (bits + 1) // 2))


@kernel
def _is_in(ordered, value):
    low, high = 0, len(ordered)
    while low < high:
        middle = (low + high) // 2
        if ordered[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low < len(ordered) and ordered[low] == value


@kernel
def _sort(values, count):
    """The first `count` values ascending: they are few."""
    for i in range(1, count):
        value = values[i]
        j = i - 1
        while j >= 0 and values[j] > value:
            values[j + 1] = values[j]
            j -= 1
        values[j + 1] = value


@kernel
def _pool(degree, width, node_key, position):
    """Candidates of one row into `position`; returns how many."""
    if degree <= width:
        for slot in range(degree):
            position[slot] = slot
        return degree
    half_bits = _half_bits(degree)
    for slot in range(width):
        position[slot] = _permuted(slot, degree, half_bits, node_key)
    return width


@kernel
def _take_smallest(position, score, count, wanted, out, start):
    """Offsets `start` + positions of the `wanted` smallest scores into `out`, ascending."""
    if count <= wanted:
        for i in range(count):
            out[i] = start + position[i]
        _sort(out, count)
        return count
    for i in range(wanted):
        best = i
        for j in range(i + 1, count):
            if score[j] < score[best]:
                best = j
        score[i], score[best] = score[best], score[i]
        position[i], position[best] = position[best], position[i]
        out[i] = start + position[i]
    _sort(out, wanted)
    return wanted


@kernel
def draw_uniform(offsets, neighbours, nodes, excluded, width, stream_key, edge_NF, count_N):
    """Per node the first allowed of a permutation of its row; `edge_NF` is zeros before.

    Args:
        offsets, neighbours: The rows.
        nodes: int64 [N].
        excluded: int64, sorted: nodes that are never drawn.
        width: At most so many are looked at.
        stream_key: Hash of the stream and the draw's name.
        edge_NF, count_N: Written: edges, ascending, and how many.
    """
    fanout = edge_NF.shape[1]
    for i in range(len(nodes)):
        start = offsets[nodes[i]]
        degree = offsets[nodes[i] + 1] - start
        if degree == 0:
            continue
        node_key = hashed(np.uint64(stream_key), nodes[i])
        half_bits = _half_bits(degree)
        found = 0
        for slot in range(min(width, degree)):
            edge = start + _permuted(slot, degree, half_bits, node_key)
            if len(excluded) and _is_in(excluded, neighbours[edge]):
                continue
            edge_NF[i, found] = edge
            found += 1
            if found == fanout:
                break
        _sort(edge_NF[i], found)
        count_N[i] = found


@kernel
def _scores(position, count, start, key, node, weights, score):
    """-log(u) / weight of each candidate; `weights` is empty where all weigh the same."""
    bits, column, value_of, floor = weights
    node_key = hashed(np.uint64(key), node)
    for i in range(count):
        score[i] = -np.log(_uniform(hashed(node_key, position[i])))
        if column >= 0:
            value = value_of[bits[start + position[i], column]]
            score[i] /= max(np.float64(value), 0.0) + floor


@kernel
def withhold(offsets, neighbours, row_keys, neighbour_keys, state, below, more_below, kept, label):
    """Of each row the edges of lowest draws, as many as leave it `kept` edges.

    Args:
        offsets, neighbours: The rows.
        row_keys, neighbour_keys: int64, words of each edge's draw.
        state: Hash of the words before those.
        below, more_below: Edges drawn below the first get the first label, of the rest those below
            the second the second.
        kept: Edges.
        label: (first, second, int8 [E] to be written at the edges withheld).
    """
    first, second, out = label
    chosen, drawn = np.empty(1, np.int64), np.empty(1, np.float64)
    for row in range(len(offsets) - 1):
        start, degree = offsets[row], offsets[row + 1] - offsets[row]
        if degree <= kept:
            continue
        if degree > len(chosen):
            chosen, drawn = np.empty(2 * degree, np.int64), np.empty(2 * degree, np.float64)
        row_state = hashed(np.uint64(state), row_keys[row])
        count = 0
        for edge in range(start, start + degree):
            draw = _uniform(hashed(row_state, neighbour_keys[neighbours[edge]]))
            if draw < more_below:
                chosen[count], drawn[count] = edge, draw
                count += 1
        while count > degree - kept:  # At most `kept` times. Of equal draws the last goes.
            highest = 0
            for i in range(1, count):
                if drawn[i] >= drawn[highest]:
                    highest = i
            count -= 1
            for i in range(highest, count):
                chosen[i], drawn[i] = chosen[i + 1], drawn[i + 1]
        for i in range(count):
            out[chosen[i]] = first if drawn[i] < below else second


@kernel
def draw_weighted(offsets, nodes, width, keys, weights, edge_NF, count_N):
    """Per node a draw without replacement by weight; no node is excluded.

    Args:
        keys: (of the pool, of the priorities).
        weights: (bits of the features, column or -1, values of bits, floor).
        edge_NF, count_N: Written, as above.
    """
    fanout = edge_NF.shape[1]
    position, score = np.empty(width, np.int64), np.empty(width, np.float64)
    for i in range(len(nodes)):
        start = offsets[nodes[i]]
        degree = offsets[nodes[i] + 1] - start
        node_key = hashed(np.uint64(keys[0]), nodes[i])
        count = _pool(degree, width, node_key, position)
        if count > fanout:
            _scores(position, count, start, keys[1], nodes[i], weights, score)
        count_N[i] = _take_smallest(position, score, count, fanout, edge_NF[i], start)


@kernel
def draw_inputs(
    offsets,
    seeds,
    width,
    keys,
    max_share,
    weights,
    target_BT,
    targets_B,
    edge_BF,
    count_B,
):
    """Targets and inputs of each seed, without replacement.

    Args:
        keys: (of the pool, of the number of targets, of the targets, of the priorities).
        max_share: Of a seed's edges, at most, that are targets.
        target_BT, targets_B, edge_BF, count_B: Written: edges, ascending, and how many.
    """
    max_targets, fanout = target_BT.shape[1], edge_BF.shape[1]
    position, score = np.empty(width, np.int64), np.empty(width, np.float64)
    for i in range(len(seeds)):
        start = offsets[seeds[i]]
        degree = offsets[seeds[i] + 1] - start
        node_key = hashed(np.uint64(keys[0]), seeds[i])
        count = _pool(degree, width, node_key, position)
        share = max_share * _uniform(hashed(np.uint64(keys[1]), seeds[i]))
        wanted = min(int(np.ceil(share * degree)), degree - 1)
        wanted = min(max(wanted, 0), max_targets, count)
        if wanted:
            node_key = hashed(np.uint64(keys[2]), seeds[i])
            for j in range(count):
                score[j] = _uniform(hashed(node_key, position[j]))
            _take_smallest(position, score, count, wanted, target_BT[i], start)
            count -= wanted
            for j in range(count):
                position[j] = position[j + wanted]
        targets_B[i] = wanted
        if count > fanout:
            _scores(position, count, start, keys[3], seeds[i], weights, score)
        count_B[i] = _take_smallest(position, score, count, fanout, edge_BF[i], start)
