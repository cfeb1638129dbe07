"""The local encoder: all-MiniLM-L6-v2 on ONNX Runtime, in one thread beside the event loop.

While a batch is at work others wait, and leave together as the next batch: under load the thread is never idle and
never asked for one text at a time, and without load nobody waits for company.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cacheproxy.semantic.encoder import Vectors
from cacheproxy.semantic.errors import EncoderBusy, EncoderMissing
from cacheproxy.semantic.minilm.files import REMEDY, graph_file, wheel

try:
    import onnxruntime
    from tokenizers import Tokenizer
except ImportError as missing:
    raise EncoderMissing(f"The local encoder cannot run ({missing}): {REMEDY}.") from missing

DIMENSIONS = 384
MAX_TOKENS = 256
MAX_CHARACTERS = 4096
"""Of a text, looked at: so many hold more than `MAX_TOKENS`, and a longer one would only take longer to cut."""
BATCH_TEXTS = 16
"""That go through the model at once: more take more memory and no less time each."""
MAX_WAITING_TEXTS = 64
THREADS = 2

Ids: TypeAlias = NDArray[np.int64]


class _Waiting(NamedTuple):
    texts: Sequence[str]
    vectors: "asyncio.Future[Vectors]"


class LocalEncoder:
    """The model, loaded. `open` takes a second; `close` when no more is wanted."""

    dimensions = DIMENSIONS

    def __init__(self, graph: Path, vocabulary: Path, *, threads: int = THREADS) -> None:
        self.name = graph.stem
        self._session = _session(graph, threads)
        self._tokenizer = Tokenizer.from_file(str(vocabulary))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._waiting: deque[_Waiting] = deque()
        self._busy = False

    @classmethod
    def open(cls, folder: Path, *, quantised: bool = True, threads: int = THREADS) -> "LocalEncoder":
        """Return the encoder, whose graph is kept in *folder*; the first time it is built there.

        Raises:
            EncoderMissing: the extra `semantic` is not installed.
        """
        return cls(graph_file(folder, quantised=quantised), wheel().vocabulary, threads=threads)

    def close(self) -> None:
        """Let the batch at work end, and drop what waits."""
        self._thread.shutdown(cancel_futures=True)

    def encode_now(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of *texts*, in order, in this thread. Texts of like length share a batch."""
        tokens = [self._tokenizer.encode(text[:MAX_CHARACTERS]).ids for text in texts]
        by_length = sorted(range(len(tokens)), key=lambda index: len(tokens[index]))
        vectors = np.empty((len(tokens), DIMENSIONS), np.float32)
        for first in range(0, len(by_length), BATCH_TEXTS):
            batch = by_length[first : first + BATCH_TEXTS]
            vectors[batch] = self._run([tokens[index] for index in batch])
        return vectors

    async def encode(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of *texts*, in order. Cancelled while they wait, they are not computed.

        Raises:
            EncoderBusy: too many wait already.
        """
        if sum(len(each.texts) for each in self._waiting) + len(texts) > MAX_WAITING_TEXTS:
            raise EncoderBusy(f"{MAX_WAITING_TEXTS} texts wait for the encoder.")
        waiting = _Waiting(texts, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if not self._busy:
            self._begin()
        return await waiting.vectors

    def _begin(self) -> None:
        """Send off what waits and is still wanted."""
        batch = [waiting for waiting in self._waiting if not waiting.vectors.done()]
        self._waiting.clear()
        self._busy = bool(batch)
        if batch:
            texts = [text for waiting in batch for text in waiting.texts]
            work = asyncio.get_running_loop().run_in_executor(self._thread, self.encode_now, texts)
            work.add_done_callback(lambda done: self._end(batch, done))

    def _end(self, batch: list[_Waiting], done: "asyncio.Future[Vectors]") -> None:
        first = 0
        for waiting in batch:
            end = first + len(waiting.texts)
            if waiting.vectors.done():
                pass  # whoever asked has gone
            elif done.cancelled():
                waiting.vectors.cancel()
            elif failure := done.exception():
                waiting.vectors.set_exception(failure)
            else:
                waiting.vectors.set_result(done.result()[first:end])
            first = end
        self._begin()

    def _run(self, tokens: list[list[int]]) -> Vectors:
        ids: Ids = np.zeros((len(tokens), len(tokens[-1])), np.int64)
        mask = np.zeros_like(ids)
        for row, each in enumerate(tokens):
            ids[row, : len(each)] = each
            mask[row, : len(each)] = 1
        vectors: Vectors = self._session.run(["vectors"], {"ids": ids, "mask": mask})[0]
        return vectors


def _session(graph: Path, threads: int) -> "onnxruntime.InferenceSession":
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait for work by spinning would take the processor from the event loop.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
