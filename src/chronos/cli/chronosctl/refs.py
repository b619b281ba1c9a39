"""From what a person types to one job: a name, an id, or the beginning of either that fits one job only."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import islice

from chronos.client import Client
from chronos.errors import Invalid, NotFound

JOBS_LOOKED_AT_MAX = 100_000
CANDIDATES_SHOWN_MAX = 8


def job_id_of(client: Client, ref: str, missing: NotFound) -> str:
    """Return the id of the one job whose name or id begins with `ref`.

    Raises:
        NotFound: `missing`, when no job does; with the nearest names, if there are any.
        Invalid: Several do; the message names them.
    """
    start = ref.casefold()
    jobs = list(islice(client.iter_jobs(), JOBS_LOOKED_AT_MAX))
    found = [
        job for job in jobs if start and (job.name.casefold().startswith(start) or job.id.casefold().startswith(start))
    ]
    if not found:
        raise _with_hint(missing, ref, [job.name for job in jobs])
    if len(found) > 1:
        shown = ", ".join(f"{job.name} ({job.id})" for job in found[:CANDIDATES_SHOWN_MAX])
        more = f" and {len(found) - CANDIDATES_SHOWN_MAX} more" if len(found) > CANDIDATES_SHOWN_MAX else ""
        raise Invalid(f"`{ref}` may be any of {shown}{more}; type more of it.")
    return found[0].id


def _with_hint(missing: NotFound, ref: str, names: list[str]) -> NotFound:
    near = get_close_matches(ref, names, n=3)
    if not near:
        return missing
    hint = " or ".join(f"`{name}`" for name in near)
    return type(missing)(f"{missing} Did you mean {hint}?", **missing.facts)
