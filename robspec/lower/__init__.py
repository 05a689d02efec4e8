"""From the abstract syntax tree to the intermediate representation."""
