"""What checks keep between runs: logits by what they were computed from, in one SQLite file."""

from robspec.store.database import LIMIT, Store, default_path
from robspec.store.remembering import Remembering

__all__ = ["LIMIT", "Remembering", "Store", "default_path"]
