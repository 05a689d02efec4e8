"""Metrics as specifications of whole images ask for them."""

from __future__ import annotations

from functools import lru_cache

from robspec.ir.types import Degraded, Metric, Program, RadiusQuery, WorstCaseQuery
from robspec.lower import compile_text

CLASSES = """model {{
  input image [1, 4, 4] in [0, 1]
  output scores [{k}]
  classes {names}
}}
data d {{
  images "i/*.png"
  labels "labels.csv"
}}
"""
SIDES = """model {
  input image [1, 4, 4] in [0, 1]
  output score [1]
  annotation normal | anomalous
}
data d {
  images "i/*/*.png"
  labels by folder
}
"""


def program(text: str) -> Program:
    """Compile a specification that is right."""
    found, diagnostics = compile_text(f"language 1\n{text}")
    assert found is not None, diagnostics
    return found


@lru_cache(maxsize=256)
def of_classes(metric: str, k: int, definitions: str = "") -> Metric:
    """A metric of k classes c0, c1, ..., asked of whole images."""
    names = ", ".join(f"c{i}" for i in range(max(k, 2)))
    asked = f"property p {{\n metric {metric}\n norm l2\n budget 0.1\n require worst_case >= 0\n}}\n"
    for requirement in ("worst_case >= 0", "worst_case <= 1", "worst_case >= 0 for all images"):
        text = asked.replace("worst_case >= 0", requirement)
        found, _ = compile_text(f"language 1\n{definitions}\n{CLASSES.format(k=k, names=names)}{text}")
        if found is not None:
            query = found.properties[0].query
            assert isinstance(query, WorstCaseQuery)
            return query.metric
    raise AssertionError(metric)


@lru_cache(maxsize=64)
def of_scores(metric: str, attack: str) -> Metric:
    """A metric of scores, with whose images are attacked."""
    for sign in ("<=", ">="):
        body = f"metric {metric}\n norm l2\n attack {attack}\n degraded when h {sign} 0.5\n require radius >= 0"
        found, _ = compile_text(f"language 1\n{SIDES}property p {{\n {body}\n}}\n")
        if found is not None:
            query = found.properties[0].query
            assert isinstance(query, RadiusQuery)
            (objective,) = query.objectives
            assert isinstance(objective, Degraded)
            return objective.metric
    raise AssertionError(metric)
