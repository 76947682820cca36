"""References to a name of a private module lead to the public module that exports and documents it.

A signature says `attrib_core.attacks.batch.AttackResult`; the page has `attrib_core.attacks.AttackResult`.
"""

from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("missing-reference", _find)
    return {"parallel_read_safe": True}


def _find(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Node
) -> nodes.reference | None:
    target = str(node.get("reftarget", ""))
    if node.get("refdomain") != "py":
        return None
    name = target.rpartition(".")[2]
    domain = env.domains.python_domain
    package = target.split(".")[0] if "." in target else ""
    found = [
        full
        for full, entry in domain.objects.items()
        if full.rpartition(".")[2] == name and full.startswith(package) and entry.objtype != "module"
    ]
    same = [full for full in found if _shared(full, target) == max(_shared(each, target) for each in found)]
    if len(same) != 1:
        return None
    entry = domain.objects[same[0]]
    uri = app.builder.get_relative_uri(node.get("refdoc", env.docname), entry.docname)
    return nodes.reference("", "", content, internal=True, refuri=f"{uri}#{entry.node_id}")


def _shared(one: str, other: str) -> int:
    """Return how many leading parts of two dotted names agree."""
    pairs = zip(one.split("."), other.split("."), strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), 99)
