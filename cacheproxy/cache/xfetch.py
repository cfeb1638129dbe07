"""When an answer that is still fresh is asked for again, so that it never expires under those who ask for it. Plain.

XFetch (Vattani, Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede Prevention, VLDB 2015): whoever reads
an answer that took Δ to compute draws an exponential time of mean Δ·β, and is the one to ask again if the answer ends
within it. Readers need not know of each other; the more there are, the earlier one of them begins.
"""

import math


def is_due(left_ms: int, took_us: int, beta: float, draw: float) -> bool:
    """Return whether this reader asks again for an answer that ends in *left_ms*; *draw* is uniform on (0, 1].

    The probability is exp(-left / (Δ·β)), Δ being *took_us*; 0 where that or *beta* is 0, 1 once the time is over.
    """
    return left_ms <= 0 or took_us * beta * -math.log(draw) >= left_ms * 1000
