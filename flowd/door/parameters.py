"""What clients send in words, as what it means; BadRequest says what would have been right."""

from flowd.stream.held import RETAIN_MAX
from flowd.values.errors import BadRequest
from flowd.values.record import Position


def position(text: object) -> Position | None:
    """The position that a client sent, None when it sent none."""
    if text is None or text == "":
        return None
    try:
        return Position.parse(str(text))
    except ValueError as error:
        raise BadRequest(
            str(error),
            parameter="after",
            value=text,
            allowed="a position as flowd gave it, or nothing for all that is retained",
        ) from None


def count(text: object, *, least: int = 0, most: int = RETAIN_MAX) -> int | None:
    """The limit that a client sent, None when it sent none."""
    if text is None:
        return None
    try:
        if isinstance(text, bool) or not isinstance(text, str | int):
            raise ValueError
        if isinstance(text, str) and not (text.isascii() and text.isdigit()):
            raise ValueError
        number = int(text)
        if not least <= number <= most:
            raise ValueError
    except ValueError:
        raise BadRequest(
            "limit must be a whole number",
            parameter="limit",
            value=text,
            allowed=f"{least} to {most}: how many of the newest records",
        ) from None
    return number
