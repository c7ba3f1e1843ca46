"""Why nothing of a file can be read, in the person's language."""


class Unreadable(Exception):
    """The file as it is has no text for us; it will be tried again when it has changed."""
