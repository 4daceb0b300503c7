"""A trained encoder on disk: weights, shape, names of its rows, and states for new users."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from graph.config import EncoderConfig
from graph.contents import Centres
from graph.csr import map_array
from graph.edges import EDGE_FEATURES
from graph.encode import SubredditStates
from graph.model import SubredditInputs, TasteEncoder
from graph.store import Clock
from pipelines.contract import ContractError, MissingInputError

FORMAT = 1
STATES_FILE = "subreddit_states.safetensors"
INPUTS = tuple(f.name for f in fields(SubredditInputs))
STATES = ("h_Sd", "item_Sd", "prior_S")


@dataclass(frozen=True, kw_only=True)
class TrainedEncoder:
    """A model in evaluation mode, and the subreddits that its learned rows are for.

    Args:
        model: The encoder.
        subreddits: Names by learned row, from row 1; row 0 is for any other.
        seen_users: int64, sorted hashes of the users that training saw.
        clock: Of the edge features that training saw.
    """

    model: TasteEncoder
    subreddits: list[str]
    seen_users: Tensor
    clock: Clock

    def has_seen(self, user_keys: Tensor) -> Tensor:
        """bool: which users, by hash of their name, were seeds or neighbours in training."""
        if not len(self.seen_users):
            return torch.zeros(len(user_keys), dtype=torch.bool)
        at = torch.searchsorted(self.seen_users, user_keys).clamp(max=len(self.seen_users) - 1)
        return self.seen_users[at] == user_keys

    @property
    def centres(self) -> Centres:
        """The means that its inputs are centred by."""
        return Centres(image_D=self.model.image_centre_D, text_D=self.model.text_centre_D)

    def rows_of(self, subreddits: list[str]) -> Tensor:
        """int64: learned row of each name, 0 for those that training did not know."""
        row = {name: i + 1 for i, name in enumerate(self.subreddits)}
        return torch.tensor([row.get(name, 0) for name in subreddits], dtype=torch.int64)


def save_encoder(folder: Path, trained: TrainedEncoder) -> None:
    """Write weights, shape and names."""
    folder.mkdir(parents=True, exist_ok=True)
    model = trained.model
    weights = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    shape = {
        "format": FORMAT,
        "encoder": asdict(model.config),
        "clip_dim": model.clip_dim,
        "num_rows": model.num_rows,
        "edge_features": list(EDGE_FEATURES),
        "clock": asdict(trained.clock),
    }
    (folder / "encoder.json").write_text(json.dumps(shape, indent=1) + "\n")
    names = pa.table({"subreddit": pa.array(trained.subreddits, pa.string())})
    pq.write_table(names, folder / "subreddits.parquet")
    np.save(folder / "seen_users.npy", trained.seen_users.numpy())


def load_encoder(folder: Path) -> TrainedEncoder:
    """Read what `save_encoder` wrote.

    Raises:
        MissingInputError: There is no encoder in `folder`.
        ContractError: It was made by an incompatible version.
    """
    path = folder / "encoder.json"
    if not path.is_file():
        raise MissingInputError(f"checkpoint not found at {folder}; run train_gat first")
    shape = json.loads(path.read_text())
    if (shape["format"], shape["edge_features"]) != (FORMAT, list(EDGE_FEATURES)):
        raise ContractError(
            f"checkpoint at {folder} has format {shape['format']} and edge features "
            f"{shape['edge_features']}, expected {FORMAT} and {list(EDGE_FEATURES)}; train again"
        )
    encoder = shape["encoder"] | {"fanouts": tuple(shape["encoder"]["fanouts"])}
    model = TasteEncoder(EncoderConfig(**encoder), shape["num_rows"], shape["clip_dim"])
    model.load_state_dict(load_file(folder / "model.safetensors"))
    names = pq.read_table(folder / "subreddits.parquet")["subreddit"].to_pylist()
    seen = map_array(folder / "seen_users.npy")
    clock = Clock(**shape["clock"])
    return TrainedEncoder(model=model.eval(), subreddits=names, seen_users=seen, clock=clock)


def save_states(path: Path, states: SubredditStates) -> None:
    """Write layer 1 of all subreddits, for users who come later."""
    inputs = {name: getattr(states.inputs, name).contiguous() for name in INPUTS}
    save_file(inputs | {name: getattr(states, name) for name in STATES}, path)


def load_states(path: Path) -> SubredditStates:
    """Read what `save_states` wrote.

    Raises:
        MissingInputError: There is no such file.
    """
    if not path.is_file():
        raise MissingInputError(f"subreddit states not found at {path}; run train_gat first")
    tensors = load_file(path)
    inputs = SubredditInputs(**{name: tensors[name] for name in INPUTS})
    return SubredditStates(inputs=inputs, **{name: tensors[name] for name in STATES})
