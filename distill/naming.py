"""Templates found in logs, named and described by the teacher: one call each.

Refuses to wait for a good name: where the teacher gives none, the template's own words are one.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from distill import prompts
from distill.parse import find_json, slug
from distill.teacher.flow import ordered
from distill.teacher.protocol import Teacher
from distill.traffic.clusters import Cluster
from distill.traffic.tasks import fallback_names
from distill.types import Progress, Request

LONGEST_PROMPT, LONGEST_DESCRIPTION = 1500, 200
ANSWERS_SHOWN, LONGEST_ANSWER, FEWEST_EACH = 5, 60, 3
AHEAD = 32
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "description": {"type": "string"}},
    "required": ["name", "description"],
    "additionalProperties": False,
}


class Named(NamedTuple):
    """A template's name, fit to be a task's, and what it does in a sentence ("": nobody said)."""

    name: str
    description: str


async def name_all(teacher: Teacher, clusters: Sequence[Cluster], progress: Progress) -> list[Named]:
    """A distinct name for each template."""
    progress.begin("naming what the logs ask for", len(clusters))

    async def name(cluster: Cluster) -> Named:
        named = await _asked(teacher, cluster)
        progress.advance(note=named.name)
        return named

    found: list[Named] = []
    fallbacks = iter(fallback_names(clusters))
    async for named in ordered(clusters, name, ahead=AHEAD):
        own, taken = next(fallbacks), {each.name for each in found}
        picked = named.name if named.name and named.name not in taken else own
        found.append(Named(picked if picked not in taken else f"{own}-{len(found) + 1}", named.description))
    return found


async def _asked(teacher: Teacher, cluster: Cluster) -> Named:
    completion = await teacher.complete(name_request(cluster))
    value = find_json(completion.text)
    told = value if isinstance(value, dict) else {}
    name, description = (str(told.get(key) or "") for key in ("name", "description"))
    return Named(slug(name), " ".join(description.split())[:LONGEST_DESCRIPTION])


def name_request(cluster: Cluster) -> Request:
    """Ask what a template does; of its answers, those that come again and are short are shown."""
    answers = Counter(" ".join(row.response.split()) for row in cluster.rows)
    seen = [text for text, count in answers.most_common(ANSWERS_SHOWN)
            if count >= FEWEST_EACH and len(text) <= LONGEST_ANSWER]  # fmt: skip
    shown = prompts.render(
        "name-template",
        prompt=cluster.frame.words[:LONGEST_PROMPT] or "(no constant words)",
        answers=" | ".join(seen) or "free text",
    )
    return Request(
        messages=shown,
        max_tokens=120,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "named", "strict": True, "schema": SCHEMA},
        },
    )
