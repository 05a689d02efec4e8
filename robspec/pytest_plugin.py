"""One pytest test for each property of a specification: `pytest --robspec-model model.pt2 specs/`.

Without `--robspec-model` (or `robspec_model` in the configuration) nothing is collected, and nothing of robspec is
imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("robspec", "specifications of robustness")
    group.addoption("--robspec-model", metavar="FILE", help="check each .rspec file collected for this model")
    group.addoption("--robspec-data", metavar="FOLDER", help="folder the data globs start from")
    group.addoption("--robspec-allow-unknown", action="store_true", help="UNKNOWN is no failure")
    parser.addini("robspec_model", "the model that .rspec files are checked for; a path from the root folder")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what is missing where a specification is asked for by name, also where pytest is quiet."""
    asked = any(str(argument).split("::")[0].endswith(".rspec") for argument in config.args)
    if asked and _model(config) is None:
        terminalreporter.write_line("robspec: name a model with --robspec-model")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect a specification, where a model is named."""
    if file_path.suffix != ".rspec" or _model(parent.config) is None:
        return None
    found: pytest.Collector = SpecFile.from_parent(parent, path=file_path)
    return found


def _model(config: pytest.Config) -> Path | None:
    given = config.getoption("--robspec-model")
    if given:
        return Path(config.invocation_params.dir, given)
    written = config.getini("robspec_model")
    return config.rootpath / str(written) if written else None


class SpecFile(pytest.File):
    """A specification: its properties are the tests. The check runs once, when the first of them does."""

    def collect(self) -> Iterable[pytest.Item]:
        """List the properties, and what is declared of the model where anything is."""
        from robspec.diagnostics import render_all
        from robspec.lower import compile_source
        from robspec.models.claims import of_file
        from robspec.syntax.source import read_source

        source = read_source(self.path)
        program, diagnostics = compile_source(source)
        if program is None:
            raise self.CollectError(render_all(diagnostics, source, colour=False))
        model = _model(self.config)
        claim = (program if model is None else of_file(program, model)).model.claim
        if claim is not None or program.privacy is not None:
            yield PropertyItem.from_parent(self, name="model")
        for prop in program.properties:
            yield PropertyItem.from_parent(self, name=prop.name)

    def findings(self) -> tuple[Any, ...]:
        """Check the specification, the first time; what went wrong then goes wrong for every property."""
        if not hasattr(self, "_findings"):
            self._findings: tuple[Any, ...] | Exception
            try:
                self._findings = tuple(self._checked())
            except Exception as error:  # noqa: BLE001 - shown as the failure of each property
                self._findings = error
        if isinstance(self._findings, Exception):
            raise self._findings
        return self._findings

    def _checked(self) -> Iterator[Any]:
        from robspec import api
        from robspec.report._findings import findings

        data = self.config.getoption("--robspec-data")
        allow = self.config.getoption("--robspec-allow-unknown")
        folder = Path(self.config.invocation_params.dir, data) if data else None
        model = _model(self.config)
        if model is None:
            raise RuntimeError("no model is named")
        yield from findings(api.check(model, self.path, data=folder, allow_unknown=bool(allow)))


class PropertyItem(pytest.Item):
    """One property."""

    def runtest(self) -> None:
        """Fail with the bound against the requirement and the worst image, for each requirement that fails."""
        found = self.parent.findings()  # type: ignore[union-attr]
        failed = [f for f in found if not f.passed and (f.group == self.name or f.broken)]
        if failed:
            raise NotProved("\n".join(f"{f.name}\n{f.text}" for f in failed))
        self.user_properties += [(f.name, f.summary) for f in found if f.group == self.name]

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show what failed; a traceback only of what robspec did not expect."""
        from robspec.errors import RobspecError

        if isinstance(excinfo.value, NotProved | RobspecError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Say where the property is."""
        return self.path, None, f"property {self.name}"


class NotProved(Exception):
    """A property that is refuted or unknown."""
