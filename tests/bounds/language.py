"""Metrics for the tests, compiled by the language itself."""

from __future__ import annotations

from functools import lru_cache

from robspec.ir.types import Metric, WorstCaseQuery
from robspec.lower import compile_text

SPEC = """language 1
model {{
  input image [3, 8, 8] in [0, 1]
  output logits [{channels}, 8, 8]
  classes {names}
}}
data d {{
  images "i/*.png"
  masks "m/*.png"
  ignore 255
  region "r/*.png"
  weights "w/*.npy"
}}
{definitions}
property p {{
  metric {metric}
  norm l2
  budget 1
  require {requirement}
}}
"""


@lru_cache
def metric(text: str, classes: int = 3, definitions: str = "", single: bool = False) -> Metric:
    """Compile a metric as a specification would write it; classes are called c0, c1, ..."""
    names = ", ".join(f"c{k}" for k in range(classes))
    for requirement in ("mean(worst_case) >= 0", "mean(worst_case) <= 1", "worst_case >= 0", "worst_case <= 1"):
        source = SPEC.format(
            channels=1 if single else classes,
            names=names,
            metric=text,
            definitions=definitions,
            requirement=requirement,
        )
        program, diagnostics = compile_text(source)
        if program is not None:
            query = program.properties[0].query
            assert isinstance(query, WorstCaseQuery)
            return query.metric
    raise AssertionError(diagnostics)
