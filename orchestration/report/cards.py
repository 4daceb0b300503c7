"""Persona cards of the report: the words, the evidence of each claim, the exemplar images."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from embed.archive import ArchiveReader, Place, archive_files, locate
from embed.decode import Decoded, decode
from embed.tables import VISUAL_TARGETS
from persona.schema import Claim, Persona
from persona.tables import EVIDENCE, PERSONAS
from pipelines.contract import Run, Table

THUMBNAIL_PIXELS = 132
MAX_PIXELS = 50_000_000
MAX_BYTES = 50_000_000


@dataclass(frozen=True)
class Card:
    """One persona as the page shows it.

    Args:
        claims: By heading.
        evidence: evidence_id -> readable text, for the claims to cite.
        images: Data URLs of the exemplar images.
    """

    user_id: str
    persona: Persona
    claims: list[tuple[str, list[Claim]]]
    evidence: dict[str, str]
    images: list[str]


def persona_cards(run: Run, archive: str, number: int) -> list[Card]:
    """`number` personas, half of users with images, half without, spread over all users."""
    if not PERSONAS.files(run):
        return []
    users, warm = _users(PERSONAS, run).sort("user_id"), _users(VISUAL_TARGETS, run)
    ids = pl.concat(
        [
            _spread(users.join(warm, on="user_id", how="semi").sort("user_id"), number // 2),
            _spread(
                users.join(warm, on="user_id", how="anti").sort("user_id"), number - number // 2
            ),
        ]
    )
    personas = pl.scan_parquet(PERSONAS.files(run)).join(ids.lazy(), on="user_id", how="semi")
    chosen = ids.join(personas.collect(), on="user_id", how="left", maintain_order="left")
    evidence = (
        pl.scan_parquet(EVIDENCE.files(run))
        .filter(pl.col("user_id").is_in(chosen["user_id"].to_list()))
        .collect()
    )
    urls = evidence.filter(pl.col("kind") == "image")["text"].unique().to_list()
    thumbnails = _thumbnails(archive, urls)
    return [
        _card(row, evidence.filter(pl.col("user_id") == row["user_id"]), thumbnails)
        for row in chosen.iter_rows(named=True)
    ]


def _users(table: Table, run: Run) -> pl.DataFrame:
    """user_id of every row, and nothing else of what may be millions."""
    files = table.files(run)
    empty = pl.DataFrame(schema={"user_id": pl.String()})
    return pl.read_parquet(files, columns=["user_id"]) if files else empty


def _spread(personas: pl.DataFrame, number: int) -> pl.DataFrame:
    step = max(1, len(personas) // max(1, number))
    return personas.gather_every(step).head(number)


def _card(row: dict[str, Any], evidence: pl.DataFrame, thumbnails: dict[str, str]) -> Card:
    images = evidence.filter(pl.col("kind") == "image")["text"].to_list()
    readable = {item["evidence_id"]: _readable(item) for item in evidence.iter_rows(named=True)}
    persona = Persona.model_validate_json(row["persona"])
    return Card(
        user_id=row["user_id"],
        persona=persona,
        claims=_claims(persona),
        evidence=readable,
        images=[thumbnails[url] for url in images if url in thumbnails],
    )


def _readable(item: dict[str, Any]) -> str:
    match item["kind"]:
        case "subreddit":
            return f"r/{item['text']}, attention {item['weight']:.2f}"
        case "snippet":
            return f"wrote in r/{item['subreddit']}: {item['text']}"
        case "tag":
            return f"{item['facet']}: {item['text']}, z {item['weight']:+.1f}"
        case kind:
            return f"{kind}: {item['text']}"


def _thumbnails(archive: str, urls: Iterable[str]) -> dict[str, str]:
    """url -> data URL of a small JPEG, of those in the archive that decode."""
    if not archive or not Path(archive).is_dir():
        return {}
    places = locate(archive_files(Path(archive)), pl.Series("url", list(urls), pl.String()))
    reader, found = ArchiveReader(), {}
    for row in places.iter_rows(named=True):
        place = Place(file=Path(row["file"]), row_group=row["row_group"], row=row["row"])
        answer = reader.fetched(place, MAX_BYTES)
        if not answer.content:
            continue
        decoded = decode(answer.content, MAX_PIXELS, THUMBNAIL_PIXELS)
        if not isinstance(decoded, Decoded):
            continue
        decoded.picture.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
        buffer = io.BytesIO()
        decoded.picture.save(buffer, "JPEG", quality=82)
        encoded = base64.b64encode(buffer.getvalue()).decode()
        found[row["url"]] = f"data:image/jpeg;base64,{encoded}"
    return found


def _claims(persona: Persona) -> list[tuple[str, list[Claim]]]:
    """(heading, claims) of the parts of a persona that have any."""
    parts: list[tuple[str, list[Claim]]] = [("interests", list(persona.interests))]
    parts += [(taste.facet, [taste]) for taste in persona.aesthetic]
    parts.append(("affect", list(persona.affect)))
    return [(heading, found) for heading, found in parts if found]
