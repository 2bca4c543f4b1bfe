"""Errors of files; all else that is wrong with an argument is a ValueError with the library's own message."""


class FileError(OSError, ValueError):
    """A file that cannot be read, is not what it should be or cannot be written: "FILE: PLACE: expected X, found Y"."""

    def __init__(self, file, place, expected, found):
        super().__init__(f"{file}: {place}: expected {expected}, found {found}")
        self.file, self.place, self.expected, self.found = str(file), place, expected, found

    def __reduce__(self):
        return FileError, (self.file, self.place, self.expected, self.found)
