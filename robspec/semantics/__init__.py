"""The field's concepts as small immutable types: norm, relation, objective, aggregate, constant."""
