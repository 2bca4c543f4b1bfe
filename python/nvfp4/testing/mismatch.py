"""What the assertions raise."""


class Mismatch(AssertionError):
    """An AssertionError whose text ends the search, with what it counts as numbers, too."""

    def __init__(self, message, differing_bytes=0, differing_values=0, diagnosis=()):
        super().__init__(message)
        self.differing_bytes, self.differing_values = differing_bytes, differing_values
        self.diagnosis = list(diagnosis)

    def __reduce__(self):
        return Mismatch, (self.args[0], self.differing_bytes, self.differing_values, self.diagnosis)


Mismatch.__module__ = "nvfp4.testing"  # under this name pytest shows it
