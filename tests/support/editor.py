"""ComfyUI workflows in the editor's form, put together node by node as people draw them."""

from __future__ import annotations

from typing import Any, Self

INPUTS, OUTPUTS = -10, -20


class Drawing(dict[str, Any]):
    """What the editor saves: nodes, links, and the subgraphs that it has."""

    def __init__(self) -> None:
        super().__init__(version=0.4, nodes=[], links=[], definitions={"subgraphs": []}, extra={})

    def node(
        self,
        node_id: int,
        kind: str,
        *values: Any,
        links: dict[str, tuple[int, int] | tuple[int, int, str]] | None = None,
        widgets: tuple[str, ...] = (),
        outputs: tuple[str, ...] = (),
        **more: Any,
    ) -> Self:
        """Adds a node.

        Args:
            node_id: its id.
            kind: its class, or the id of a subgraph.
            values: of its widgets.
            links: input → node, slot and type of what leads into it.
            widgets: inputs that are drawn as widgets, linked or not.
            outputs: types.
            more: other keys, such as `mode`, `title`, `properties`.
        """
        inputs: list[dict[str, Any]] = [
            {"name": name, "type": "*", "widget": {"name": name}, "link": None} for name in widgets
        ]
        slots = {item["name"]: item for item in inputs}
        for name, (origin, slot, *kinds) in (links or {}).items():
            item = slots.get(name)
            if item is None:
                item = {"name": name, "type": "*"}
                inputs.append(item)
            item["type"] = kinds[0] if kinds else "*"
            item["link"] = len(self["links"]) + 1
            self["links"].append([item["link"], origin, slot, node_id, inputs.index(item), item["type"]])
        self["nodes"].append(
            {
                "id": node_id,
                "type": kind,
                "mode": 0,
                "inputs": inputs,
                "outputs": [{"name": name, "type": name} for name in outputs],
                "widgets_values": list(values),
                "properties": {},
            }
            | more
        )
        return self

    def subgraph(
        self, kind: str, inside: Drawing, *, inputs: tuple[str, ...], outputs: dict[str, tuple[int, int]]
    ) -> Self:
        """Adds the definition of a subgraph; links inside that come from `INPUTS` are its inputs.

        Args:
            kind: its id.
            inside: its nodes.
            inputs: names.
            outputs: name → node and slot inside.
        """
        links = [
            dict(zip(("id", "origin_id", "origin_slot", "target_id", "target_slot", "type"), link, strict=True))
            for link in inside["links"]
        ]
        for slot, (origin, origin_slot) in enumerate(outputs.values()):
            links.append(
                {
                    "id": 1000 + slot,
                    "origin_id": origin,
                    "origin_slot": origin_slot,
                    "target_id": OUTPUTS,
                    "target_slot": slot,
                    "type": "*",
                }
            )
        self["definitions"]["subgraphs"].append(
            {
                "id": kind,
                "name": kind,
                "nodes": inside["nodes"],
                "links": links,
                "inputs": [
                    {
                        "name": name,
                        "type": "*",
                        "linkIds": [
                            link["id"] for link in links if (link["origin_id"], link["origin_slot"]) == (INPUTS, slot)
                        ],
                    }
                    for slot, name in enumerate(inputs)
                ],
                "outputs": [{"name": name, "type": "*"} for name in outputs],
            }
        )
        self["definitions"]["subgraphs"] += inside["definitions"]["subgraphs"]
        return self
