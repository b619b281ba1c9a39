"""YAML in and out. The library takes a tenth of a second to load, so that nothing imports it at the top."""

from __future__ import annotations

from typing import Any

from chronos.errors import Invalid

TEXT_CHARS_MAX = 20_000_000


def load_yaml(text: str, where: str) -> list[Any]:
    """Return the documents of a YAML text, as plain dictionaries, lists and scalars.

    Raises:
        Invalid: It is not YAML; the message names `where`, the line and the column.
    """
    from io import StringIO

    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    if len(text) > TEXT_CHARS_MAX:
        raise Invalid(f"{where} is larger than {TEXT_CHARS_MAX:,} characters.")
    try:
        return list(YAML(typ="safe", pure=True).load_all(StringIO(text)))
    except MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise Invalid(f"{where}{place}: not YAML: {exc.problem or exc.context}.") from exc
    except (YAMLError, ValueError, RecursionError) as exc:
        raise Invalid(f"{where}: not YAML: {exc}") from exc


def dump_yaml(plain: Any) -> str:
    """Return a document as YAML, keys in their own order; several lines of text stay readable."""
    from io import StringIO

    from ruamel.yaml import YAML
    from ruamel.yaml.representer import RoundTripRepresenter

    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 4_096
    yaml.allow_unicode = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.Representer = _representer(RoundTripRepresenter)
    out = StringIO()
    yaml.dump(plain, out)
    return out.getvalue()


def _representer(base: type[Any]) -> type[Any]:
    class Representer(base):  # type: ignore[misc]
        """Writes text of several lines as a block, and never as an alias."""

        def ignore_aliases(self, data: object) -> bool:
            return True

    def text(representer: Any, data: str) -> Any:
        style = "|" if "\n" in data else None
        return representer.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    Representer.add_representer(str, text)
    return Representer
