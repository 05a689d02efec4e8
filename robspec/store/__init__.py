"""What checks keep between runs, by what it was computed from, in one SQLite file: logits, and what attacks tried."""

from robspec.store.database import LIMIT, Store, default_path
from robspec.store.proposals import Proposals
from robspec.store.remembering import Remembering

__all__ = ["LIMIT", "Proposals", "Remembering", "Store", "default_path"]
