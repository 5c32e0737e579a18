"""Moments and durations as people say them."""

from datetime import UTC, datetime


def ago(moment: datetime, now: datetime | None = None) -> str:
    """How long ago a moment was, in its largest unit: "3 min ago"."""
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    if seconds < 60:
        return "just now"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    raise AssertionError("at least a minute has a unit")


def stamp(moment: datetime) -> str:
    """A moment to the minute, in UTC; no line breaks in it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d\u00a0%H:%M")


def duration(begin: datetime, end: datetime | None) -> str:
    """How long something took, or has been going on."""
    seconds = ((end or datetime.now(UTC)) - begin).total_seconds()
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
