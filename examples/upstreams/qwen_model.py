"""A chat model of transformers: loaded from a folder, asked for an answer or for the likeliest of some choices."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import (
    AsyncTextIteratorStreamer,
    AutoModelForCausalLM,
    AutoTokenizer,
    StoppingCriteria,
    StoppingCriteriaList,
)

Messages = Sequence[Mapping[str, str]]


class Sampling(NamedTuple):
    """How tokens are drawn: a temperature of 0 takes the likeliest; a seed repeats what was drawn."""

    limit: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None


class Completion(NamedTuple):
    """An answer: `finish_reason` as OpenAI's, and how many tokens of the model it has, its end included."""

    text: str
    tokens: int
    finish_reason: str


class ChatModel:
    """A causal language model with its tokenizer and chat template. One call at a time."""

    def __init__(self, path: Path, *, threads: int) -> None:
        torch.set_num_threads(threads)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(path, local_files_only=True)
        self.model: Any = AutoModelForCausalLM.from_pretrained(path, local_files_only=True, dtype="auto")
        self.model.eval()
        ends = self.model.generation_config.eos_token_id or self.tokenizer.eos_token_id
        self.ends = frozenset(ends if isinstance(ends, list) else [ends])

    @property
    def longest_chat(self) -> int:
        """Return how many tokens a chat may have, its answer included."""
        return int(self.model.config.max_position_embeddings)

    def prompt(self, messages: Messages) -> torch.Tensor:
        """Return the chat as the tokens that the model continues."""
        given = self.tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        tokens: torch.Tensor = given["input_ids"]
        return tokens

    def streamer(self) -> AsyncTextIteratorStreamer:
        """Return what gives an answer's text to the running event loop as it comes."""
        return AsyncTextIteratorStreamer(self.tokenizer, skip_prompt=True, skip_special_tokens=True)

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # PyTorch is in another environment
    def complete(
        self,
        prompt: torch.Tensor,
        sampling: Sampling,
        *,
        stop: threading.Event,
        streamer: AsyncTextIteratorStreamer | None = None,
    ) -> Completion:
        """Return what the model says next; it says no more once `stop` is set."""
        if sampling.seed is not None:
            torch.manual_seed(sampling.seed)
        drawn = sampling.temperature > 0
        written = self.model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=sampling.limit,
            do_sample=drawn,
            **({"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0} if drawn else {}),
            eos_token_id=list(self.ends),
            pad_token_id=self.tokenizer.pad_token_id,
            stopping_criteria=StoppingCriteriaList([_Stopped(stop)]),
            streamer=streamer,
        )
        tokens = written[0, prompt.shape[1] :].tolist()
        text = self.tokenizer.decode(tokens, skip_special_tokens=True)
        return Completion(text, len(tokens), "stop" if tokens and tokens[-1] in self.ends else "length")

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # PyTorch is in another environment
    def choose(self, prompt: torch.Tensor, choices: Sequence[str]) -> Completion:
        """Return the choice that the model holds for the likeliest answer."""
        weighed = [(self._likelihood(prompt, choice), choice) for choice in choices]
        text = max(weighed)[1]
        return Completion(text, len(self._tokens(text)), "stop")

    def _likelihood(self, prompt: torch.Tensor, text: str) -> float:
        tokens = torch.tensor([self._tokens(text)])
        logits = self.model(torch.cat((prompt, tokens), dim=1)).logits
        shares = logits[0, prompt.shape[1] - 1 : -1].log_softmax(dim=-1)
        return float(shares.gather(1, tokens.T).sum())

    def _tokens(self, text: str) -> list[int]:
        tokens: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return tokens


class _Stopped(StoppingCriteria):  # type: ignore[misc]  # transformers is in another environment
    """Ends an answer that nobody waits for."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:  # noqa: ARG002  # transformers names them
        return torch.full((input_ids.shape[0],), self._stop.is_set(), dtype=torch.bool)
