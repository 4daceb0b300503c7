"""What the API does, without HTTP: look up, search, describe new users, rewrite prompts."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np

from embed.archive import ArchiveReader, archive_files
from embed.archive_index import ArchiveIndex
from embed.clip import Clip, load_clip
from embed.tables import IMAGE_EMBEDDINGS
from embed.tars import DamagedShardError
from graph.new_user import NewUser, NewUserEncoder
from graph.tables import CHECKPOINT
from persona.evidence import load_anchors, load_populations, load_vocabulary
from persona.items import IMAGE, UserEvidence
from persona.made_with import evidence_config, shares_encoder
from persona.newcomers import Newcomers, Visit, image_mean
from persona.pictures import small_jpeg
from persona.rewrite import Rewrite, Rewriter, rewrite_grounded
from persona.schema import Persona
from persona.store import Hit, PersonaStore
from persona.tables import PERSONA_STORE
from persona.verbalizer import Failed, Outcome, Verbalizer
from persona.web import messages as m
from pipelines.contract import MissingInputError, Run

ROW_COLUMNS = tuple(m.PersonaAnswer.model_fields)
_PARTS = ("_index", "sees", "_clip", "_newcomers", "_facets")
ARCHIVE_WAIT_S = 5.0
LOGGER = logging.getLogger(__name__)

T = TypeVar("T")


class UnavailableError(RuntimeError):
    """This server lacks a part that the request needs."""


@dataclass(frozen=True)
class Newcomer:
    """A new user: its vectors, evidence, persona (or why there is none), and similar users."""

    user: NewUser
    evidence: UserEvidence
    outcome: Outcome
    similar: list[Hit]


class PersonaService:
    """Answers over one root. Parts that cost memory are loaded when first asked for.

    Args:
        root: Folder of the run.
        verbalizer: Of new users.
        rewriter: By a model; None: prompts are rewritten by rule alone.
        archive: Folder with exemplar images; empty: none are shown.

    Raises:
        MissingInputError: There is no store under `root`.
    """

    def __init__(
        self,
        root: Path,
        verbalizer: Verbalizer,
        rewriter: Rewriter | None = None,
        archive: str = "",
    ) -> None:
        self._run = Run(root=root)
        self._verbalizer, self._rewriter = verbalizer, rewriter
        self._archive = archive
        self._lock = threading.Lock()
        self._opened: tuple[int, PersonaStore] | None = None
        self.store()

    def store(self) -> PersonaStore:
        """The published store; opened anew after a run, or an erasure, has put another there."""
        path = PERSONA_STORE.path(self._run).resolve()  # a publication moves the link
        inode = path.stat().st_ino if path.exists() else -1
        if self._opened is None or self._opened[0] != inode:
            self._opened = (inode, PersonaStore.open(path))
            with self._lock:  # all that was loaded beside the last store was of its run
                for name in _PARTS:
                    self.__dict__.pop(name, None)
        return self._opened[1]

    def count(self) -> int:
        """Personas in the store."""
        return self.store().count()

    def rows(self, user_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Rows by user id as they are stored, `persona` and `evidence` in JSON, no vectors."""
        return self.store().get_many(user_ids, ROW_COLUMNS)

    def persona(self, user_id: str) -> dict[str, Any] | None:
        """The row of one user, `persona` and `evidence` parsed; None if unknown."""
        row = self.rows([user_id]).get(user_id)
        return None if row is None else _parsed(row)

    def row_at(self, user_id: str, as_of: str | int) -> dict[str, Any] | None:
        """The row as of a run or a time, without evidence; None if unknown then.

        Raises:
            ValueError: There is no such run.
        """
        row = self.store().get_at(user_id, as_of)
        return None if row is None else {**row, "evidence": "[]"}

    def history(self, user_id: str) -> list[dict[str, Any]]:
        """Rows of one user's history, oldest first."""
        return self.store().history(user_id)

    def similar(self, user_id: str, k: int) -> list[Hit] | None:
        """Other users nearest by z_u; None if the user is unknown."""
        store = self.store()
        row = store.get(user_id, ["embedding"])
        if row is None:
            return None
        hits = store.search_vector(row["embedding"], k + 1, column="embedding")
        return [hit for hit in hits if hit["user_id"] != user_id][:k]

    def search(
        self,
        text: str | None,
        vector: Sequence[float] | None,
        *,
        by: str,
        column: str,
        where: dict[str, str],
        k: int,
    ) -> list[Hit]:
        """Users by words (full text, CLIP of the words, or both) or by a vector.

        Raises:
            ValueError: The vector does not fit the store.
            UnavailableError: Words are to be seen by a CLIP that is not there.
        """
        store = self.store()
        if text is not None and (by == "text" or (by == "both" and not (vector or self.sees))):
            return store.search_text(text, k, where)
        x_D = np.asarray(vector if vector is not None else self.clip.encode_texts([text or ""])[0])
        if by == "vector" or text is None:
            return store.search_vector(x_D, k, column, where)
        return store.search_both(text, x_D, k, where)

    async def newcomer(self, visits: Sequence[Visit], images: Sequence[bytes], k: int) -> Newcomer:
        """A user that no run has seen; nothing of it is kept.

        Raises:
            ContractError: No known subreddit, or an image that is none.
            UnavailableError: There is no encoder under this root.
        """
        user, evidence, similar = await asyncio.to_thread(self._embedded, visits, images, k)
        (outcome,) = await self._verbalizer.verbalize([evidence])
        return Newcomer(user, evidence, outcome, similar)

    def _embedded(
        self, visits: Sequence[Visit], images: Sequence[bytes], k: int
    ) -> tuple[NewUser, UserEvidence, list[Hit]]:
        image = image_mean(self.clip, images) if images else None
        user = self.newcomers.embed(visits, image, len(images))
        evidence = self.newcomers.evidence(user, has_images=image is not None)
        if not self.newcomers.is_of_store:
            return user, evidence, []
        return user, evidence, self.store().search_vector(user.embedding, k, column="embedding")

    async def rewrite(self, prompt: str, persona: Persona, by_model: bool) -> Rewrite | Failed:
        """The prompt in the role of the persona.

        Raises:
            UnavailableError: This server has no model to rewrite with.
        """
        if not by_model:
            return rewrite_grounded(prompt, persona, self.facets)
        if self._rewriter is None:
            raise UnavailableError("this server rewrites by rule alone; set rewriter to grounded")
        return await self._rewriter.rewrite(prompt, persona)

    @property
    def rewriter_name(self) -> str:
        """Of the model that rewrites prompts."""
        return self._rewriter.name if self._rewriter else "grounded"

    def picture(self, user_id: str, evidence_id: str) -> bytes | None:
        """A small JPEG of one of a user's exemplar images; None if it is not to be had."""
        row = self.persona(user_id)
        items = row["evidence"] if row else []
        urls = [i["text"] for i in items if (i["kind"], i["evidence_id"]) == (IMAGE, evidence_id)]
        if not urls or not self._archive:
            return None
        try:
            place = self._archived().find(urls[0])
            status, content = ArchiveReader().answer(place) if place else (404, b"")
        except (MissingInputError, DamagedShardError) as error:
            LOGGER.warning("%s", error)  # names paths, so it is not for the caller
            return None
        return small_jpeg(content) if 200 <= status < 300 else None

    def _archived(self) -> ArchiveIndex:
        """Where the archive's pictures lie. It is read beside the requests, which do not wait long.

        Raises:
            MissingInputError: There is no archive yet.
            UnavailableError: It is being read.
        """
        with self._lock:
            if "_index" not in self.__dict__:
                self.__dict__["_index"] = _started(partial(_index, Path(self._archive)))
            reading: Future[ArchiveIndex] = self.__dict__["_index"]
        try:
            return reading.result(ARCHIVE_WAIT_S)
        except TimeoutError as error:
            raise UnavailableError("the archive of images is being read") from error
        except Exception:
            with self._lock:  # the next request looks again
                self.__dict__.pop("_index", None)
            raise

    @cached_property
    def sees(self) -> bool:
        """Whether the run embedded images, so that words can be seen as pictures are."""
        return bool(_clip_name(self._run)[0])

    @property
    def clip(self) -> Clip:
        """The CLIP of the run's images."""
        if not self.sees:
            raise UnavailableError("no images were embedded under this root; search by text")
        return self._loaded("_clip", lambda: load_clip(*_clip_name(self._run)))

    @property
    def newcomers(self) -> Newcomers:
        """What evidence of new users takes."""

        def load() -> Newcomers:
            return Newcomers(
                encoder=NewUserEncoder.load(CHECKPOINT.path(self._run)),
                vocabulary=load_vocabulary(self._run),
                populations=load_populations(self._run),
                config=evidence_config(self._run),
                anchors=load_anchors(self._run),
                is_of_store=shares_encoder(self._run),
            )

        return self._loaded("_newcomers", load)

    @property
    def facets(self) -> dict[str, list[str]]:
        """All visual tags by facet; none where the run has no vocabulary."""

        def load() -> dict[str, list[str]]:
            try:
                vocabulary = load_vocabulary(self._run)
            except MissingInputError:
                return {}
            found: dict[str, list[str]] = {}
            for facet, tag in zip(vocabulary.facets, vocabulary.tags, strict=True):
                found.setdefault(facet, []).append(tag)
            return found

        return self._loaded("_facets", load)

    def _loaded(self, name: str, load: Callable[[], T]) -> T:
        """A part, loaded by whoever needs it first while others wait."""
        with self._lock:
            if name not in self.__dict__:
                try:
                    self.__dict__[name] = load()
                except MissingInputError as error:
                    LOGGER.warning("%s", error)  # names paths, so it is not for the caller
                    told = "this server has no encoder, or no vocabulary, of its run"
                    raise UnavailableError(told) from error
            part: T = self.__dict__[name]
            return part


def _index(archive: Path) -> ArchiveIndex:
    """The index of an archive, in a folder that goes when nobody holds the index any more."""
    files = archive_files(archive)
    folder = TemporaryDirectory(prefix="tastegraph-archive-")
    index = ArchiveIndex(files, Path(folder.name))
    weakref.finalize(index, folder.cleanup)
    return index


def _started(make: Callable[[], T]) -> Future[T]:
    """What is being made in a thread of its own, which nobody waits for at the end."""
    made: Future[T] = Future()

    def run() -> None:
        try:
            made.set_result(make())
        except BaseException as error:  # noqa: BLE001  told to whoever asks for the result
            made.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return made


def _clip_name(run: Run) -> tuple[str, str]:
    """Model and tag of the CLIP that embedded a run's images; empty where none did."""
    try:
        metadata = IMAGE_EMBEDDINGS.dataset(run).schema.metadata or {}
    except MissingInputError:
        return "", ""
    model, pretrained = (metadata.get(name, b"") for name in (b"clip_model", b"clip_pretrained"))
    return model.decode(), pretrained.decode()


def _parsed(row: dict[str, Any]) -> dict[str, Any]:
    persona = Persona.model_validate_json(row["persona"])
    return {**row, "persona": persona, "evidence": json.loads(row["evidence"])}
