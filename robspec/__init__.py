"""robspec: a formal specification language and verifier for the robustness of vision models."""

__version__ = "0.1.0"
