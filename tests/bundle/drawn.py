"""Trees that hypothesis draws."""

from __future__ import annotations

from hypothesis import strategies as st
from trees import Tree, full, parents

NAMES = [b"a", b"b", b"a-b", b"\xff\xfe", b"c c\n"]
contents = st.one_of(
    st.binary(max_size=6),
    st.tuples(st.just("x"), st.binary(max_size=6)),
    st.tuples(st.just("l"), st.sampled_from([b"a", b"b/a", b"nowhere"])),
    st.none(),
)
paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(b"/".join)


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """Trees over few names, so that two of them collide in every way: file, link, directory, absent."""
    files: Tree = {}
    for path, content in draw(st.dictionaries(paths, contents, max_size=8)).items():
        blocked = any(files.get(above) is not None for above in parents(path))
        if not blocked and not any(other.startswith(path + b"/") for other in files):
            files[path] = content
    return full(files)
