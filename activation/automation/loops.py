"""Flows that would trigger themselves: one adds the tag that starts it, or the next one does.

Tags are the only way in which what a flow does starts a flow. Upper and lower case are one tag.
"""

from collections.abc import Mapping

from activation.automation.actions import walk
from activation.automation.definition import AddTag, Definition, TagAdded


def loop_through(key: str, flows: Mapping[str, Definition]) -> tuple[str, ...] | None:
    """The way from this flow back to it, such as (`a`, `b`, `a`); None: there is none."""
    starts = {
        name: flow.trigger.tag.casefold()
        for name, flow in flows.items()
        if isinstance(flow.trigger, TagAdded)
    }
    ways: list[tuple[str, ...]] = [(key,)]
    seen: set[str] = set()
    while ways:
        way = ways.pop(0)
        added = _tags_of(flows[way[-1]])
        for name in sorted(starts):
            if starts[name] not in added:
                continue
            if name == key:
                return (*way, name)
            if name not in seen:
                seen.add(name)
                ways.append((*way, name))
    return None


def _tags_of(definition: Definition) -> set[str]:
    return {step.tag.casefold() for step in walk(definition.steps) if isinstance(step, AddTag)}
