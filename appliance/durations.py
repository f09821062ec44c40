"""A length of time in words, the same in every sentence, column and page. Pure."""


def span(seconds: float) -> str:
    """In its two largest units: 3 days 4 h, 5 min 10 s. What has begun does not count: 59.9 s are 59 s."""
    whole = max(0, int(seconds))
    days, hours, minutes, rest = whole // 86400, whole // 3600 % 24, whole // 60 % 60, whole % 60
    if days:
        return f"{days} day{'s' if days > 1 else ''} {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
