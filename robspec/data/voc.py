"""Pascal VOC's XML, read event by event: no document type, no entity but the five of XML, bounded depth and size."""

from __future__ import annotations

import xml.parsers.expat
from dataclasses import dataclass, field
from typing import Any

from robspec.data.errors import BadObjects

_DEPTH = 8
_TEXT = 1000
_OBJECT, _BOX = ("annotation", "object"), ("annotation", "object", "bndbox")
_WANTED = {
    (*_OBJECT, "name"): "name",
    (*_OBJECT, "difficult"): "difficult",
    (*_BOX, "xmin"): "xmin",
    (*_BOX, "ymin"): "ymin",
    (*_BOX, "xmax"): "xmax",
    (*_BOX, "ymax"): "ymax",
}
_SIZE = {("annotation", "size", "width"): "width", ("annotation", "size", "height"): "height"}


@dataclass(slots=True)
class Document:
    """What a file says.

    Args:
        width: of the image, None where it is not said.
        height: of the image, None where it is not said.
        objects: the texts of each object, by tag.
    """

    width: int | None = None
    height: int | None = None
    objects: list[dict[str, str]] = field(default_factory=list)


def read(blob: bytes, name: str) -> Document:
    """Read one file.

    Raises:
        BadObjects: E0319, no XML in UTF-8, a document type, or nested too deep.
    """
    return _Reader(name).read(blob)


class _Reader:
    def __init__(self, name: str) -> None:
        self._name = name
        self._path: list[str] = []
        self._text: list[str] = []
        self._found = Document()

    def read(self, blob: bytes) -> Document:
        parser = xml.parsers.expat.ParserCreate("utf-8")
        parser.StartDoctypeDeclHandler = self._refused
        parser.EntityDeclHandler = self._refused
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        try:
            parser.Parse(blob, True)
        except xml.parsers.expat.ExpatError as error:
            raise BadObjects(self._name, f"it is no XML in UTF-8: {error}", "save it as Pascal VOC does") from error
        return self._found

    def _refused(self, *_: Any) -> None:
        raise BadObjects(self._name, "it declares a document type or entities", "leave the DOCTYPE out")

    def _start(self, tag: str, _: dict[str, str]) -> None:
        self._path.append(tag)
        self._text = []
        if len(self._path) > _DEPTH:
            raise BadObjects(self._name, f"elements are nested more than {_DEPTH} deep", "save it as Pascal VOC does")
        if tuple(self._path) == _OBJECT:
            self._found.objects.append({})

    def _characters(self, text: str) -> None:
        if sum(map(len, self._text)) < _TEXT:
            self._text.append(text)

    def _end(self, _: str) -> None:
        path, text = tuple(self._path), "".join(self._text).strip()
        if path in _WANTED:
            if _WANTED[path] in self._found.objects[-1]:
                raise BadObjects(self._name, f"an object has two {path[-1]}", "give every object one box")
            self._found.objects[-1][_WANTED[path]] = text
        elif path in _SIZE:
            setattr(self._found, _SIZE[path], int(text) if text.isdecimal() and len(text) < 10 else None)
        self._path.pop()
        self._text = []
