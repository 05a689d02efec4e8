"""What checks keep between runs, by what it was computed from, in one SQLite file: logits, and what attacks tried."""

from robspec.store.database import LIMIT, Store, default_path

__all__ = ["LIMIT", "Store", "default_path"]
