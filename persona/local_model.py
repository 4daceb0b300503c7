"""The in-process verbalizer: a causal model of transformers, its decoding held to the schema.

For a GPU in the Serve replica itself, without a server. Tokens that would leave the persona schema,
or cite what is no evidence of the user, cannot be chosen at all. An optional extra:
`pip install tastegraph[llm]`.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from persona.config import VerbalizeConfig
from persona.items import UserEvidence
from persona.prompts import Message, persona_messages
from persona.replies import converse, read_reply
from persona.schema import persona_json_schema
from persona.verbalizer import Failed, Failure, Outcome
from pipelines.contract import ConfigError


def check(config: VerbalizeConfig) -> None:
    """What can be told without the model's weights, which a driver has no room for.

    Raises:
        ConfigError: The extra is not installed, or there is no such model.
    """
    try:
        import transformers
        import xgrammar  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "verbalizer='transformers' needs an extra: pip install 'tastegraph[llm]'"
        ) from error
    with _named(config):
        transformers.AutoConfig.from_pretrained(config.model)


@contextmanager
def _named(config: VerbalizeConfig) -> Iterator[None]:
    """Errors of loading, as errors of the setting."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"model={config.model!r}: {error}; expected a folder or a model's name"
        ) from error


class LocalVerbalizer:
    """`Verbalizer` over a model in this process.

    Args:
        model, tokenizer: Of transformers, one vocabulary.
        config: Name, limits, seed.
    """

    def __init__(self, model: Any, tokenizer: Any, config: VerbalizeConfig) -> None:
        import xgrammar

        self._model, self._tokenizer, self._config = model.eval(), tokenizer, config
        info = xgrammar.TokenizerInfo.from_huggingface(
            tokenizer, vocab_size=model.config.vocab_size
        )
        # xgrammar 0.2.8 fails on long bounded patterns when it caches rules ("Check failed:
        # per_rule_fsm_hashes"); every user has a schema of their own, so there is little to cache.
        self._compiler = xgrammar.GrammarCompiler(info, cache_enabled=False)
        self._spent: Counter[str] = Counter()
        self._turn = asyncio.Lock()

    @classmethod
    def load(cls, config: VerbalizeConfig) -> LocalVerbalizer:
        """With the model that `config.model` names: a folder, or a name that transformers knows.

        Raises:
            ConfigError: The extra is not installed, or there is no such model.
        """
        check(config)
        import transformers

        device = "cuda" if torch.cuda.is_available() else "cpu"
        with _named(config):
            tokenizer = transformers.AutoTokenizer.from_pretrained(config.model)
            model = transformers.AutoModelForCausalLM.from_pretrained(config.model).to(device)
        return cls(model, tokenizer, config)

    @property
    def name(self) -> str:
        """The model's name."""
        return self._config.model

    def spent(self) -> dict[str, int]:
        """Requests, repairs and tokens since this was last asked."""
        spent = dict(self._spent)
        self._spent.clear()
        return spent

    async def verbalize(self, users: Sequence[UserEvidence]) -> list[Outcome]:
        """One outcome for each user, in order; one user at a time, for the model is one."""
        async with self._turn:
            return [await self._verbalize(user) for user in users]

    async def _verbalize(self, user: UserEvidence) -> Outcome:
        if not user.items:
            return Failed(Failure.NOTHING_TO_SAY, "no evidence")
        return await converse(
            persona_messages(user),
            lambda messages: self._ask(user, messages),
            lambda reply: read_reply(reply, user),
            self._spent,
        )

    async def _ask(self, user: UserEvidence, messages: list[Message]) -> tuple[str, Failed | None]:
        reply, is_whole = await asyncio.to_thread(self.reply, user, messages)
        cut = Failed(Failure.TRUNCATED, "the reply was cut off; be shorter")
        return reply, None if is_whole else cut

    @torch.inference_mode()
    def reply(self, user: UserEvidence, messages: list[Message]) -> tuple[str, bool]:
        """The model's JSON, and whether it came to its end."""
        from xgrammar.contrib.hf import LogitsProcessor

        schema = json.dumps(own_schema(user))
        grammar = self._compiler.compile_json_schema(schema, any_whitespace=False)
        encoded = self._tokenizer(self._prompt(messages), return_tensors="pt")
        inputs = {name: encoded[name].to(self._model.device) for name in encoded}
        torch.manual_seed(self._config.seed)
        warm = self._config.temperature > 0
        generated = self._model.generate(
            **inputs,
            max_new_tokens=self._config.max_output_tokens,
            do_sample=warm,
            temperature=self._config.temperature if warm else None,
            logits_processor=[LogitsProcessor(grammar)],
            pad_token_id=self._tokenizer.eos_token_id,
        )
        length = inputs["input_ids"].shape[1]
        tokens = generated[0][length:].tolist()
        self._spent.update(requests=1, input_tokens=length, output_tokens=len(tokens))
        is_whole = bool(tokens) and tokens[-1] == self._tokenizer.eos_token_id
        return self._tokenizer.decode(tokens, skip_special_tokens=True), is_whole

    def _prompt(self, messages: list[Message]) -> str:
        """As the model's own chat template has it; plain where it has none. Text alone."""
        told = [{**m, "content": _text(m["content"])} for m in messages]
        if getattr(self._tokenizer, "chat_template", None):
            prompt: str = self._tokenizer.apply_chat_template(
                told, tokenize=False, add_generation_prompt=True
            )
            return prompt
        return "\n\n".join(message["content"] for message in told) + "\n\n"


def own_schema(user: UserEvidence) -> dict[str, Any]:
    """The persona schema in which only the user's own evidence can be cited.

    Free text is held to what needs no escape in JSON, for patterns match what is written there.
    """
    text = json.dumps(persona_json_schema())
    plain = json.dumps('[^\\x00-\\x1f\\x7f"')[1:-1]
    schema: dict[str, Any] = json.loads(text.replace(json.dumps("[^\\r\\n")[1:-1], plain))
    ids = [item.evidence_id for item in user.items]
    for part in schema["$defs"].values():
        if "evidence" in part["properties"]:
            part["properties"]["evidence"]["items"] = {"enum": ids}
    return schema


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part["type"] == "text")
