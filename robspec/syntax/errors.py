"""Specification files that cannot be read or written."""

from __future__ import annotations

from robspec.errors import RobspecError


class SpecFileUnreadable(RobspecError):
    """The specification file cannot be opened: it is missing, a directory, or not permitted.

    Check the path as it is printed. A specification is a single text file, by convention named `*.rspec`;
    `robspec fmt -` alone reads standard input.
    """

    code = "E0010"
    title = "the specification file cannot be opened"


class SpecFileNotText(RobspecError):
    """The specification file is not UTF-8 text.

    A specification is UTF-8 text; a byte order mark at its start is ignored. A file in another encoding, or
    one that is not text at all (an archive, an image, a model), is refused rather than guessed at. Save the
    file as UTF-8 in your editor, or convert it: `iconv -f latin1 -t utf-8 old.rspec > new.rspec`.
    """

    code = "E0011"
    title = "the specification file is not UTF-8 text"


class SpecFileTooLarge(RobspecError):
    """The specification file is larger than 1 MiB.

    A specification of hundreds of properties is some tens of kilobytes. A larger file is almost certainly
    something else given by mistake, and is refused before it is read.
    """

    code = "E0012"
    title = "the specification file is too large"


class SpecFileUnwritable(RobspecError):
    """`robspec fmt` cannot write the formatted file.

    The formatted text is first written beside the file and then takes its place, so the directory must be
    writable. The file itself is left as it was. Use `robspec fmt --diff` to see the changes without writing
    them.
    """

    code = "E0014"
    title = "the formatted specification cannot be written"
