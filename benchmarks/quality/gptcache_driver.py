# mypy: ignore-errors
"""GPTCache at work in its own environment: what its cache makes of a stream of questions, and how long that takes.

    python gptcache_driver.py STREAM.npz THRESHOLD FOLDER

The file has texts and their vectors; printed is JSON: of each question the number of the one whose answer it got, or
null, and the microseconds that took. SQLite and FAISS, as its README has it; vectors are looked up, not computed. It
imports nothing of this project.
"""

import json
import sys
import time

import numpy as np
from gptcache import Cache, Config
from gptcache.adapter.api import get, put
from gptcache.manager import CacheBase, VectorBase, get_data_manager
from gptcache.processor.pre import get_prompt
from gptcache.similarity_evaluation import SearchDistanceEvaluation

ROOM = 1_000_000
"""Answers kept: with its default of 1,000 it would forget most of the questions."""


def cache_of(vectors, threshold, folder):
    """Return an empty cache under the given similarity threshold."""
    cache = Cache()
    cache.init(
        pre_embedding_func=get_prompt,
        embedding_func=lambda text, **_: vectors[text],
        data_manager=get_data_manager(
            CacheBase("sqlite", sql_url=f"sqlite:///{folder}/sqlite.db"),
            VectorBase(
                "faiss", dimension=len(next(iter(vectors.values()))), index_path=f"{folder}/faiss.index"
            ),
            max_size=ROOM,
        ),
        similarity_evaluation=SearchDistanceEvaluation(),
        config=Config(similarity_threshold=threshold),
    )
    return cache


def main():
    """Ask one question after the other; what is no hit is kept."""
    file, threshold, folder = sys.argv[1:]
    stream = np.load(file)
    texts = stream["texts"].tolist()
    cache = cache_of(dict(zip(texts, stream["vectors"])), float(threshold), folder)  # noqa: B905
    found, taken_us = [], []
    for number, text in enumerate(texts):
        started = time.perf_counter()
        answer = get(text, cache_obj=cache)
        taken_us.append(round((time.perf_counter() - started) * 1e6))
        found.append(None if answer is None else int(answer))
        if answer is None:
            put(text, str(number), cache_obj=cache)
    json.dump({"found": found, "taken_us": taken_us}, sys.stdout)


if __name__ == "__main__":
    main()
