"""What goes wrong with the database itself, whichever it is. Raised by every adapter; the port names the rest."""


class DatabaseUnavailable(Exception):
    """The database cannot be read or written: locked, full, damaged, newer than this code, or closed. The text says which.

    Nothing is ever half written. A write that was under way when the disk failed may turn out whole after a restart: who
    sees this error from a write must read before writing again.
    """
