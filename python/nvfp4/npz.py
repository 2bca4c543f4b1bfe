"""The program's .npz files, byte for byte: stored members in order, dated 1980-01-01, as its zip library has them."""

import io
import os
import struct
import tempfile
import zipfile
import zlib

import numpy as np

from .errors import FileError, one_line

_DATE = 1 << 5 | 1
_UNIX_0666 = 0o100666 << 16
_LIMIT = 0xFFFFFFFF  # beyond it a zip needs its 64-bit form


def npy_preamble(array):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    return header.getvalue()


def npy_bytes(array):
    """What numpy.save writes of it."""
    return npy_preamble(array) + array.tobytes()


def _write_members(out, members):
    """Like zipfile's, but with the fields that libzip writes."""
    directory, offset = b"", 0
    for name, parts in members:
        crc = size = 0
        for part in parts:
            crc, size = zlib.crc32(part, crc), size + memoryview(part).nbytes
        common = struct.pack("<HHHHIIIHH", 0, 0, 0, _DATE, crc, size, size, len(name), 0)
        out.write(b"PK\3\4" + struct.pack("<H", 10) + common + name)
        for part in parts:
            out.write(part)
        directory += (b"PK\1\2" + struct.pack("<HH", 0x033F, 10) + common
                      + struct.pack("<HHHII", 0, 0, 0, _UNIX_0666, offset) + name)
        offset += 30 + len(name) + size
    out.write(directory + b"PK\5\6"
              + struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(directory), offset, 0))


def _write_large(out, members):
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, parts in members:
            with archive.open(zipfile.ZipInfo(name.decode()), "w", force_zip64=True) as member:
                for part in parts:
                    member.write(part)


def write_npz(path, arrays, overwrite=True):
    """Whole or not at all: a temporary file beside the target, renamed. Beyond 4 GB another writer's zip headers."""
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    members = [(f"{name}.npy".encode(), [npy_preamble(a)] + ([a.reshape(-1).view(np.uint8).data] if a.size else []))
               for name, a in arrays.items()]
    write = _write_large if sum(a.nbytes + 1024 for a in arrays.values()) > _LIMIT else _write_members
    write_whole(path, lambda out: write(out, members), overwrite)


def write_whole(path, write, overwrite=True):
    path = os.fspath(path)
    if not overwrite and os.path.exists(path):
        raise FileError(path, "file", "no file of this name, or overwrite=True", "one")
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=os.path.basename(path) + ".", suffix=".tmp",
                                                 dir=os.path.dirname(path) or ".")
        with os.fdopen(descriptor, "wb") as out:
            write(out)
            out.flush()
            os.fchmod(out.fileno(), 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise FileError(path, "file", "a place where it can be written", error.strerror or str(error)) from None


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


class Npz:
    """The arrays of an .npz; each is read when asked for."""

    def __init__(self, path):
        self.file = os.fspath(path)
        try:
            self._npz = np.load(self.file, allow_pickle=False)
        except Exception as error:
            raise FileError(self.file, "file", "a readable .npz", one_line(error)) from None
        if not isinstance(self._npz, np.lib.npyio.NpzFile):
            raise FileError(self.file, "file", "an .npz", "another kind")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._npz.close()

    def __contains__(self, name):
        return name in self._npz.files

    @property
    def names(self):
        return list(self._npz.files)

    def read(self, name):
        if name not in self:
            raise FileError(self.file, f"array '{name}'", "it in the file", "none")
        try:
            return self._npz[name]
        except Exception as error:  # whatever zipfile and NumPy make of a hostile file
            raise FileError(self.file, f"array '{name}'", "an array without Python objects", one_line(error)) from None
