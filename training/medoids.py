"""A few of many vectors, chosen so that each of the many has one of the few near to it.

The objective is that of facility location: the sum of everyone's similarity to the most similar one of those chosen.
Taking in turn the one that adds most comes within 1 − 1/e of the best choice (G. Nemhauser, L. Wolsey and M. Fisher,
"An analysis of approximations for maximizing submodular set functions—I", Mathematical Programming, 1978). What one
adds only shrinks as others are chosen, so most gains need not be computed again (M. Minoux, "Accelerated greedy
algorithms for maximizing submodular set functions", 1978).
"""

import heapq

import numpy as np
from numpy.typing import NDArray


def medoids(vectors: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """The places of `count` of the vectors (n, d) of unit length, or of all if there are fewer, in ascending order.

    Similarity is the cosine. Memory grows with n², 4 bytes each.
    """
    similarity = vectors @ vectors.T
    covered = np.full(len(vectors), -1, np.float32)  # the least that a cosine can be
    gains = [(-float((row - covered).sum()), place, 0) for place, row in enumerate(similarity)]
    heapq.heapify(gains)
    chosen: list[int] = []
    while gains and len(chosen) < count:
        gain, place, among = heapq.heappop(gains)
        if among < len(chosen):  # computed when there were fewer, so it may be less by now
            gain = -float(np.maximum(similarity[place] - covered, 0).sum())
            heapq.heappush(gains, (gain, place, len(chosen)))
        else:
            chosen.append(place)
            covered = np.maximum(covered, similarity[place])
    return np.sort(np.array(chosen, np.intp))
