"""What is wrong in a library as far as its listing alone tells: no file is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from app.library.attachments import Attachment, Contents
from app.library.check import Problem


def glance(contents: Contents) -> Counter[Problem]:
    """Count the problems that names and sizes show; `check` finds these and more."""
    found = Counter(problem for one in contents.attachments.values() for problem in _problems(one))
    if contents.strangers:
        found[Problem.STRANGER] = len(contents.strangers)
    return found


def _problems(attachment: Attachment) -> Iterator[Problem]:
    if attachment.zip is None:
        yield Problem.PROP_ALONE
    elif attachment.zip.size == 0:
        yield Problem.EMPTY_ZIP
    if attachment.prop is None:
        yield Problem.ZIP_ALONE
    elif attachment.prop.size == 0:
        yield Problem.BAD_PROP
