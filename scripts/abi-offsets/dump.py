# Run by gdb on an object file with debug information of Xen's public headers: offsets and sizes of all structs as JSON.
#   gcc -m64 -ffreestanding -g -fno-eliminate-unused-debug-types -I xen/include/public -c headers.c -o 64.o
#   gdb -batch -ex 'python out="64.json"' -x dump.py 64.o
import json
import re

import gdb


def strip(t):
    return t.strip_typedefs()


def describe(t):
    t = strip(t)
    if t.code == gdb.TYPE_CODE_ARRAY:
        element = describe(t.target())
        first, last = t.range()
        return {"size": t.sizeof, "length": last - first + 1, **({"fields": element["fields"]} if "fields" in element else {})}
    out = {"size": t.sizeof}
    if t.code in (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION):
        fields = {}
        for f in t.fields():
            if f.bitsize:
                continue
            inner = describe(f.type)
            inner["offset"] = f.bitpos // 8
            fields[f.name or "?%d" % len(fields)] = inner
        out["fields"] = fields
    return out


names = set()
arrays = set()  # typedefs of arrays, as strings of a fixed size are
for line in gdb.execute("info types", to_string=True).splitlines():
    m = re.search(r"(struct|union) (\w+);", line)
    if m:
        names.add(m.group(1) + " " + m.group(2))
    m = re.search(r"typedef .*\] (\w+)_t;", line)
    if m:
        arrays.add(m.group(1))
table = {name: {"size": gdb.lookup_type(name + "_t").strip_typedefs().sizeof} for name in arrays}
for name in sorted(names):
    try:
        table[name.split(" ")[1]] = describe(gdb.lookup_type(name))
    except gdb.error:
        pass
json.dump(table, open(out, "w"))
