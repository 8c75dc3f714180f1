"""When a source is synced by itself: every so many seconds, or by a cron expression in UTC."""

from datetime import UTC, datetime, timedelta

from croniter import CroniterError, croniter

from app.domain.errors import InvalidField

SHORTEST_S = 5
_LONGEST_S = 366 * 24 * 3600


def check_schedule(schedule: int | str) -> str:
    """Return a schedule as it is stored, or raise InvalidField."""
    text = str(schedule).strip()
    if text.isascii() and text.isdigit():
        if not SHORTEST_S <= int(text) <= _LONGEST_S:
            raise InvalidField("schedule", f"not between {SHORTEST_S} s and a year")
    else:
        wrong = InvalidField(
            "schedule", f"{schedule!r} is neither a number of seconds nor five cron fields"
        )
        if len(text.split()) != 5:
            raise wrong
        try:
            next_sync_at(text, datetime.now(UTC))
        except CroniterError as error:
            raise wrong from error
    return text


def next_sync_at(schedule: str, after: datetime) -> datetime:
    """The first time of a stored schedule after a moment."""
    if schedule.isdigit():
        return after + timedelta(seconds=int(schedule))
    found = croniter(schedule, after).get_next(datetime)
    assert isinstance(found, datetime)
    return found
