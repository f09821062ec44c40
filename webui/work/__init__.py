"""What the pages and the API do with the box beside changing records: looked at and done here once, whoever asks for it."""

from webui.work.desktop import Busy, Desktop, Tell, Work

__all__ = ["Busy", "Desktop", "Tell", "Work"]
