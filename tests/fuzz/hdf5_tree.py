"""hdf5_tree.py - files that h5py makes of a good one: other formats, layouts, filters, types, shapes, links, attributes."""
import io

import h5py
import numpy as np
from hdf5_bytes import lookup3

VERSIONS = [("earliest", "latest"), ("earliest", "v108"), ("v108", "v110"), ("latest", "latest")]
DATASET_TYPES = ["f2", "f8", ">f4", "i1", "u2", ">i8", "u8", "S5", "V7", "?", "c8", np.dtype([("a", "f4"), ("b", "i2")]),
                 np.dtype(("f4", (2, 3)))]


def opened(data):
    return h5py.File(io.BytesIO(data), "r")


def created(r, versions=None):
    how = {"libver": versions or r.choice(VERSIONS)}
    if r.random() < 0.05:
        how["userblock_size"] = 512
    if r.random() < 0.05:
        how["track_order"] = True
    if "userblock_size" not in how and r.random() < 0.05 and how["libver"][0] != "earliest" and how["libver"][1] != "v108":
        how.update(fs_strategy=r.choice(["page", "fsm", "aggregate", "none"]), fs_persist=bool(r.randrange(2)))
    return h5py.File("memory", "w", driver="core", backing_store=False, **how)


def image_of(f):
    f.flush()
    image = bytearray(f.id.get_file_image())
    f.close()
    at = image.find(b"\x89HDF\r\n\x1a\n")
    if image[at + 8] in (2, 3):  # HDF5 clears the mark of an open file there, and leaves the checksum as it was
        image[at + 44:at + 48] = lookup3(image[at:at + 44]).to_bytes(4, "little")
    return bytes(image)


def copy_attributes(source, target):
    for name in source.attrs:
        a = source.attrs.get_id(name)
        new = h5py.h5a.create(target.id, name.encode(), a.get_type(), a.get_space())
        if a.get_space().get_simple_extent_type() != h5py.h5s.NULL:
            value = np.empty(a.shape, a.dtype)
            a.read(value)
            new.write(value)


def copy(source, target, name):
    """An object, by its contents if an older version of the format has no such one."""
    try:
        h5py.h5o.copy(source.id, name.encode(), target.id, name.encode())
        return
    except RuntimeError:
        if name in target:
            del target[name]
    if isinstance(source[name], h5py.Dataset):
        target.create_dataset(name, data=source[name][...])
    else:
        target.create_group(name)
        for inner in source[name]:
            copy(source[name], target[name], inner)
    copy_attributes(source[name], target[name])


def copied(r, data, versions=None):
    """The same in a file of another version of the format, still open."""
    target = created(r, versions)
    with opened(data) as source:
        copy_attributes(source, target)
        for name in source:
            copy(source, target, name)
    return target


def items(f):
    """(path, object) of everything."""
    found = [("/", f)]
    f.visititems(lambda name, item: found.append((name, item)))
    return found


def some(r, f, kind):
    found = [(name, item) for name, item in items(f) if isinstance(item, kind)]
    return r.choice(found) if found else None


# ---- Datasets ----


def plan_of(r, shape):
    """Options of create_dataset: a layout, filters."""
    chunks = tuple(r.choice((max(n, 1), max(n // 2, 1), 1, max(min(n, 7), 1))) for n in shape) if shape else None
    what = r.randrange(12)
    if what < 2 or not shape:
        return {}
    plan = {"chunks": chunks}
    if what in (2, 3):
        plan["maxshape"] = tuple(r.choice((None, n, n + 5)) for n in shape)
        plan["maxshape"] = tuple(m if m is None or m >= n else n for m, n in zip(plan["maxshape"], shape))
    if what in (3, 4, 5):
        plan.update(compression="gzip", shuffle=bool(r.randrange(2)))
    if what in (6, 7):
        plan.update(compression="lzf", shuffle=bool(r.randrange(2)))
    if what == 8:
        plan["scaleoffset"] = r.randrange(8)
    if what == 9:
        plan["fletcher32"] = True
    if what == 10:
        plan["fillvalue"] = 3
    return plan


def create_low(r, group, name, value):
    """What create_dataset has no option for: nbit, filters several times, compact, external, early allocation."""
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    what = r.randrange(5)
    if what < 2 and value.shape:
        plan.set_chunk(tuple(max(n, 1) for n in value.shape))
        for _ in range(r.choice((1, 1, 3))):
            number = r.choice((h5py.h5z.FILTER_NBIT, h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, 32000, 305))
            plan.set_filter(number, h5py.h5z.FLAG_OPTIONAL, (6,) if number == h5py.h5z.FILTER_DEFLATE else ())
    elif what == 2:
        plan.set_layout(h5py.h5d.COMPACT)
    elif what == 3:
        plan.set_external(b"/dev/zero", 0, h5py.h5s.UNLIMITED)
    else:
        plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    space = h5py.h5s.create_simple(value.shape) if value.shape else h5py.h5s.create(h5py.h5s.SCALAR)
    d = h5py.h5d.create(group.id, name.encode(), h5py.h5t.py_create(value.dtype), space, dcpl=plan)
    if what != 3:
        d.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(value))


def other_shape(r, value):
    shape = list(value.shape)
    what = r.randrange(7)
    if what == 0:
        return value.reshape(-1)
    if what == 1:
        return value[..., None]
    if what == 2:
        return value.T
    if what == 3:
        return np.zeros([0] + shape, value.dtype)
    if what == 4:
        return np.zeros((), value.dtype)
    if what == 5:
        return np.zeros((1,) * r.choice((9, 32)), value.dtype)
    return np.resize(value, [n + r.choice((-1, 0, 1)) if n > 1 else n for n in shape] or [3])


def replace_dataset(r, f):
    found = some(r, f, h5py.Dataset)
    if not found:
        return
    name, d = found
    if (d.size or 0) > 1 << 20:
        return  # one that was made huge
    group, last, value, old = d.parent, d.name.rsplit("/", 1)[1], d[...], dict(d.attrs)
    what = r.randrange(10)
    del group[last]
    if what < 3:
        plan = plan_of(r, value.shape)
        if value.dtype.kind not in "iuf":
            plan.pop("fillvalue", None)
        new = group.create_dataset(last, data=value, **plan)
    elif what < 5:
        create_low(r, group, last, value)
    elif what == 5:
        new = group.create_dataset(last, shape=value.shape, dtype=r.choice(DATASET_TYPES))
    elif what == 6:
        new = group.create_dataset(last, data=other_shape(r, value))
    elif what == 7:
        huge = r.choice(((2**40,), (2**20, 2**20, 2**20), (2**31, 4), (2**63 - 1,), (2**32, 0)))
        new = group.create_dataset(last, shape=huge, dtype=value.dtype, chunks=(1 << r.choice((1, 10, 20, 27)),) + (1,) * (len(huge) - 1))
    elif what == 8:
        new = group.create_dataset(last, data=r.choice((h5py.Empty(value.dtype), "text", [b"a", b"bc"], np.bytes_(b""))))
    else:
        layout = h5py.VirtualLayout(shape=value.shape, dtype=value.dtype)
        if value.shape:
            layout[...] = h5py.VirtualSource(r.choice((".", "none.h5")), r.choice((d.name, "/none")), shape=value.shape)
        new = group.create_virtual_dataset(last, layout)
    for key, x in old.items() if r.random() < 0.8 else ():
        group[last].attrs[key] = x


# ---- Links and groups ----


def change_links(r, f):
    found = some(r, f, h5py.Group)
    group, target = found[1], r.choice(items(f))[1]
    name = r.choice(["x", "state", "params", "0", "999999999999", "model.layers.7.attn.A_log", "n" * r.choice((300, 5000)),
                     "\u00e9", "a\nb", "."])
    what = r.randrange(10)
    if name in group and what < 5:
        del group[name]
    if what == 0:
        group[name] = h5py.SoftLink(r.choice((target.name, "/none", ".", "x", "/" * 300)))
    elif what == 1:
        group[name] = h5py.ExternalLink(r.choice(("none.h5", "/dev/zero", "")), r.choice((target.name, "/")))
    elif what == 2:
        group[name] = target  # in a circle, if it lies above
    elif what == 3:
        group[name] = np.dtype("f4")
    elif what == 4:
        for _ in range(r.choice((3, 31, 33, 100, 300))):
            group = group.create_group(name[:40])
    elif what == 5:
        for i in range(r.choice((9, 40, 400, 2000))):
            group[f"{name[:20]}{i}"] = target
    elif what == 6:
        source = some(r, f, h5py.Dataset)
        if source:
            f.move(source[0], source[0] + r.choice(("x", "/x", ".0", "\u00e9")))
    elif what == 7 and target.name != "/":
        del f[target.name]
    elif what == 8 and target.name != "/":
        place = target.name
        del f[place]
        f.create_group(place) if isinstance(target, h5py.Dataset) else f.create_dataset(place, data=1.0)
    else:
        for i in range(r.choice((1, 20))):
            group.create_dataset(f"{name[:20]}-{i}", data=np.ones(r.choice((0, 1, 9)), r.choice(("f4", "u1", "i8"))))


# ---- Attributes ----


def change_text(r, text):
    """Bytes of a configuration, a tokenizer or a name."""
    text = bytearray(text)
    for _ in range(r.choice((1, 1, 2, 5))):
        at = r.randrange(len(text) + 1)
        what = r.randrange(5)
        if what == 0 and at < len(text):
            text[at] = r.randrange(256)
        elif what == 1:
            text[at:at] = r.choice((b"9", b"0", b"-", b"\n", b"\0", b"\xff", b"*(", b"gdn2", b"99999999999", b"e300", b" = "))
        elif what == 2:
            del text[at:at + r.choice((1, 4, 40))]
        elif what == 3:
            text[at:at] = text[:r.choice((8, 80))]
        else:
            del text[at:]
    return np.bytes_(bytes(text))


def change_attribute(r, f):
    with_some = [item for _, item in items(f) if len(item.attrs)]
    if not with_some:
        return
    item = r.choice(with_some + [f] * 3)
    if not len(item.attrs):
        return
    name = r.choice(sorted(item.attrs))
    value = item.attrs[name]
    what = r.randrange(10)
    if what < 4 and isinstance(value, (bytes, np.bytes_, str)):
        item.attrs[name] = change_text(r, value.encode() if isinstance(value, str) else bytes(value))
    elif what < 5 and not isinstance(value, (bytes, str)):
        item.attrs[name] = r.choice((0, -1, 1, 2, 1e300, -1e300, float("nan"), float("inf"), 2**31, 2**53, 2**63 - 1, 0.5))
    elif what == 5:
        del item.attrs[name]
    elif what == 6:
        item.attrs[name] = r.choice(("", np.bytes_(b""), h5py.Empty("f4"), h5py.Empty("S3")))
    elif what == 7:
        item.attrs[name] = np.zeros(r.choice((2, 1000, 16000)), r.choice(("f4", "u1", "S3")))
    elif what == 8:
        item.attrs[name] = r.choice(([1.0, 2.0], "text of any length", ["a", "bc"], np.array([(1, 2)], "i4,f4"), True, 7, 1.5))
    elif what == 9:
        for i in range(r.choice((9, 70, 500))):
            item.attrs[f"more {i}"] = r.choice((i, "text", b"x" * 200))


def mutate(r, data):
    """A file of another structure; what h5py does not do is left undone."""
    f = copied(r, data)
    for _ in range(r.choice((1, 1, 2, 4))):
        try:
            r.choice((replace_dataset, replace_dataset, change_links, change_attribute, change_attribute))(r, f)
        except (KeyError, OSError, OverflowError, RuntimeError, TypeError, UnicodeError, ValueError):
            pass
    return image_of(f)


def variants(r, data):
    """The same contents in each version of the format, and with each kind of filter."""
    out = [data]
    for versions in VERSIONS:
        out.append(image_of(copied(r, data, versions)))
        f = copied(r, data, versions)
        for name, d in items(f):
            if isinstance(d, h5py.Dataset) and d.shape and d.size and r.random() < 0.7:
                value, old, place = d[...], dict(d.attrs), d.name
                del f[place]
                d = f.create_dataset(place, data=value, **plan_of(r, value.shape))
                for key, x in old.items():
                    d.attrs[key] = x
        out.append(image_of(f))
    return out
