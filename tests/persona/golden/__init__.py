"""Golden texts of stage 4. `python -m tests.persona.golden` writes them anew; review the diff."""

from __future__ import annotations

import json
from pathlib import Path

from persona.grounded import verbalize_user
from persona.prompts import persona_messages
from persona.schema import Persona
from persona.verbalizer import Failed
from tests.persona.examples import injected_user, rich_user, thin_user

FOLDER = Path(__file__).parent


def texts() -> dict[str, str]:
    """File name to content."""
    return {
        "prompt.txt": _prompt(),
        "personas.json": json.dumps([_persona(0), _persona(1)], indent=1) + "\n",
    }


def _prompt() -> str:
    messages = persona_messages(injected_user(3))
    return "\n".join(f"[{m['role']}]\n{m['content']}" for m in messages) + "\n"


def _persona(place: int) -> object:
    outcome: Persona | Failed = verbalize_user((rich_user(), thin_user())[place], seed=0)
    assert isinstance(outcome, Persona)
    return outcome.model_dump(mode="json")
