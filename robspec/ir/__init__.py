"""The typed intermediate representation: what a specification asks, with every name resolved."""
