from pathlib import Path

from open_clip.tokenizer import SimpleTokenizer

from embed.tiny_clip.captions import PROMPTS, every_word
from embed.tiny_clip.package import (
    CONFIG,
    CONTEXT_LENGTH,
    MERGES,
    NUM_FIXED_TOKENS,
    SHIPPED,
    WEIGHTS,
    learn_merges,
    model_config,
    write_merges,
)


def test_merges_join_the_most_frequent_pair_first() -> None:
    assert learn_merges(["aab", "aac"])[0] == ("a", "a")
    assert ("aa", "b</w>") in learn_merges(["aab", "aac"])


def test_every_word_becomes_one_token_of_open_clips_tokenizer(tmp_path: Path) -> None:
    words = every_word()
    merges = learn_merges(words)
    write_merges(tmp_path, merges)
    tokenizer = SimpleTokenizer(bpe_path=str(tmp_path / MERGES), context_length=CONTEXT_LENGTH)
    assert tokenizer.vocab_size == NUM_FIXED_TOKENS + len(merges)
    assert {word: len(tokenizer.encode(word)) for word in words} == dict.fromkeys(words, 1)
    assert model_config(len(merges))["text_cfg"]["vocab_size"] == tokenizer.vocab_size


def test_no_prompt_is_cut_by_the_context() -> None:
    tokenizer = SimpleTokenizer(bpe_path=str(SHIPPED / MERGES))
    texts = [p for values in PROMPTS.values() for group in values.values() for p in group]
    assert max(len(tokenizer.encode(text)) for text in texts) <= CONTEXT_LENGTH - 2


def test_the_shipped_merges_are_those_that_the_captions_give(tmp_path: Path) -> None:
    write_merges(tmp_path, learn_merges(every_word()))
    assert (tmp_path / MERGES).read_bytes() == (SHIPPED / MERGES).read_bytes()


def test_what_is_shipped_is_whole_and_small() -> None:
    sizes = {file.name: file.stat().st_size for file in SHIPPED.iterdir()}
    assert {CONFIG, WEIGHTS, MERGES, "training_log.json", "README.md"} == set(sizes)
    assert sum(sizes.values()) < 5_000_000
