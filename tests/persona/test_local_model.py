"""The in-process verbalizer with a tiny random model that is built here: nothing is downloaded."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch

from persona.config import VerbalizeConfig
from persona.items import UserEvidence
from persona.prompts import persona_messages
from persona.schema import Persona
from persona.verbalizer import Failed, Failure
from pipelines.contract import ConfigError
from tests.persona.examples import rich_user, thin_user

transformers = pytest.importorskip("transformers", reason="the extra `llm` is not installed")
pytest.importorskip("xgrammar", reason="the extra `llm` is not installed")

from persona.local_model import LocalVerbalizer, own_schema  # noqa: E402

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of 30K parameters with a vocabulary of bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    path = tmp_path_factory.mktemp("model")
    letters = pre_tokenizers.ByteLevel.alphabet()
    vocabulary = {letter: index for index, letter in enumerate(["<eos>", *sorted(letters)])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>")
    tokenizer.save_pretrained(path)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16_384,
        eos_token_id=0,
        bos_token_id=0,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(path)
    return path


def load(folder: Path, **settings: Any) -> LocalVerbalizer:
    config = VerbalizeConfig(verbalizer="transformers", model=str(folder), **settings)
    return LocalVerbalizer.load(config)


def test_every_reply_obeys_the_schema_and_cites_own_evidence(folder: Path) -> None:
    verbalizer = load(folder, max_output_tokens=6000, temperature=1.0, seed=3)
    user = thin_user()
    reply, is_whole = verbalizer.reply(user, persona_messages(user))
    assert is_whole
    jsonschema.validate(json.loads(reply), own_schema(user))
    spent = verbalizer.spent()
    assert spent["requests"] == 1 and spent["output_tokens"] > 20 and spent["input_tokens"] > 500
    assert verbalizer.spent() == {}


def test_outcomes_are_personas_or_named_failures(folder: Path) -> None:
    verbalizer = load(folder, max_output_tokens=3000, temperature=1.0)
    users = [thin_user("ann"), UserEvidence("bob", ())]
    first, second = asyncio.run(verbalizer.verbalize(users))
    # Random letters hardly make two sentences: refused by name, or fine, but never wrong.
    assert isinstance(first, Persona) or first.reason in (Failure.SCHEMA, Failure.TRUNCATED)
    assert second == Failed(Failure.NOTHING_TO_SAY, "no evidence")


def test_a_reply_that_is_cut_is_told(folder: Path) -> None:
    verbalizer = load(folder, max_output_tokens=30)
    (outcome,) = asyncio.run(verbalizer.verbalize([rich_user()]))
    assert outcome == Failed(Failure.TRUNCATED, "the reply was cut off; be shorter")
    assert verbalizer.spent()["repairs"] == 1


def test_a_model_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a folder or a model's name"):
        load(tmp_path / "nothing")
