"""hdf5_bytes.py - changes bytes of HDF5 files where their structures are, and mends the checksums of what was changed:
a change that a checksum finds never reaches the code behind it.

Source: HDF5 file format specification, version 3.
"""
import re
import struct

SIGNATURES = re.compile(rb"OHDR|OCHK|BTHD|BTIN|BTLF|FRHP|FHIB|FHDB|EAHD|EAIB|EASB|EADB|FAHD|FADB|FSHD|FSSE|SMTB|SMLI|"
                        rb"TREE|HEAP|SNOD|GCOL|\x89HDF\r\n\x1a\n")
OLD_HEADER = re.compile(rb"\x01\x00.\x00\x01\x00\x00\x00..\x00\x00", re.DOTALL)  # has no signature
WITHOUT = (b"TREE", b"HEAP", b"SNOD", b"GCOL", b"\x01")  # structures of the old format have no checksum
SPAN = 512  # of a structure whose end is not known
MASK = 0xFFFFFFFF


def lookup3(data):
    """Bob Jenkins' hash of 32 bits, which is HDF5's checksum of metadata."""
    a = b = c = (0xDEADBEEF + len(data)) & MASK
    at, left = 0, len(data)
    if not left:
        return c
    data = bytes(data) + bytes(-left % 12)
    words = struct.unpack(f"<{len(data) // 4}I", data)
    while True:
        a = (a + words[at]) & MASK
        b = (b + words[at + 1]) & MASK
        c = (c + words[at + 2]) & MASK
        at += 3
        if left <= 12:
            break
        left -= 12
        for turn in 4, 6, 8, 16, 19, 4:
            a, c = (a - c) & MASK ^ (c << turn & MASK | c >> 32 - turn), (c + b) & MASK
            a, b, c = b, c, a
    for turn in 14, 11, 25, 16, 4, 14, 24:
        c = ((c ^ b) - (b << turn & MASK | b >> 32 - turn)) & MASK
        a, b, c = b, c, a
    return b


def word(data, at):
    return struct.unpack_from("<I", data, at)[0] if 0 <= at <= len(data) - 4 else None


class Image:
    """A file and where its structures are."""

    def __init__(self, data):
        self.data = bytes(data)
        old = OLD_HEADER.finditer(self.data) if self.data[8:9] in (b"\0", b"\1") else ()
        starts = sorted({m.start() for found in (SIGNATURES.finditer(self.data), old) for m in found})
        self.parts = [(p, min(q, p + SPAN)) for p, q in zip(starts, starts[1:] + [len(self.data)])]
        self.gap = dict(zip(starts, starts[1:] + [len(self.data)]))
        self.sums = {}

    def sum_of(self, p):
        """(where the checksum of the structure at p is, where the structure ends), or None."""
        if p not in self.sums:
            self.sums[p] = self.find_sum(p)
        return self.sums[p]

    def is_sum(self, p, at):
        return at > p and word(self.data, at) is not None and lookup3(self.data[p:at]) == word(self.data, at)

    def find_sum(self, p):
        d, kind = self.data, self.data[p:p + 4]
        if kind.startswith(WITHOUT):
            return None
        if kind == b"FHDB":
            return self.find_heap_sum(p)
        ends = [self.gap[p] - 4]
        if kind == b"\x89HDF":
            ends = [p + 44]
        elif kind == b"OHDR" and p + 6 < len(d):
            flags = d[p + 5]
            at = p + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
            width = 1 << (flags & 3)
            ends = [at + width + int.from_bytes(d[at:at + width], "little")]
        for at in ends + list(range(p + 8, min(self.gap[p], p + SPAN) - 3)):
            if self.is_sum(p, at):
                return at, at + 4
        return None

    def find_heap_sum(self, p):
        """In a direct block of a fractal heap the checksum stands before the data."""
        for size in (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536):
            for at in range(p + 14, p + 22):
                block = bytearray(self.data[p:p + size])
                if len(block) == size:
                    block[at - p:at - p + 4] = bytes(4)
                    if lookup3(block) == word(self.data, at):
                        return at, p + size
        return None

    def mend(self, buf, p):
        """The checksum of the structure at p, of bytes that were changed."""
        found = self.sum_of(p)
        if not found:
            return
        at, end = found
        if self.data[p:p + 4] == b"FHDB":
            buf[at:at + 4] = bytes(4)
            buf[at:at + 4] = struct.pack("<I", lookup3(buf[p:end]))
        else:
            buf[at:at + 4] = struct.pack("<I", lookup3(buf[p:at]))


def change(r, buf, at, image):
    """One change at a place."""
    size = len(buf)
    what = r.randrange(10)
    if what < 3:
        buf[at] ^= 1 << r.randrange(8)
    elif what == 3:
        buf[at] = r.choice((0, 1, 2, 3, 0x7F, 0x80, 0xFE, 0xFF))
    elif what == 4:
        buf[at] = (buf[at] + r.choice((-1, 1))) & 0xFF
    elif what < 8:
        width = r.choice((2, 4, 8))
        number = r.choice((0, 1, 2, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1, size, size - 1, size + 8,
                           r.choice(image.parts)[0] if image.parts else 0, r.randrange(size)))
        if at + width <= size:
            buf[at:at + width] = (number % 2**(8 * width)).to_bytes(width, "little")
    elif what == 8:  # addresses and lengths stand at multiples of 8 within many structures
        n, other = r.choice((2, 4, 8, 16)), r.randrange(size)
        if at + n <= size and other + n <= size:
            buf[at:at + n] = buf[other:other + n]
    else:
        n = r.choice((2, 4, 8, 24))
        buf[at:at + n] = bytes(min(n, size - at))


def mutate(r, image):
    """The file with a few changes."""
    buf, touched = bytearray(image.data), set()
    for _ in range(r.choice((1, 1, 1, 2, 3, 6))):
        if image.parts and r.random() < 0.9:
            p, end = r.choice(image.parts)
            end = max(end, min(p + 24, len(buf)))
            change(r, buf, r.randrange(p, end), image)
            touched.add(p)
        else:
            change(r, buf, r.randrange(len(buf)), image)
    if r.random() < 0.9:
        for p in touched:
            image.mend(buf, p)
    if r.random() < 0.04:
        del buf[r.randrange(len(buf)):]
    if r.random() < 0.02:
        buf += r.randbytes(r.choice((1, 8, 4096)))
    return bytes(buf)
