"""A small CLIP of this project's own: picture grammar, captions, training, shipped weights."""
