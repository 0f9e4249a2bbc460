"""How the local Hub reads and checks the YAML at the head of a README.md. The rules are guesses, far fewer than the Hub's."""

import re
from typing import Any

import yaml

from tests.local_hub_store import Commit

FRONT_MATTER = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)\r?\n?---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
# https://huggingface.co/docs/hub/repositories-licenses
LICENCES = """apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
    afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl
    lgpl-2.1 lgpl-3.0 isc intel-research h-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl openmdw-1.0
    openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license
    fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 grok2-community gemma unknown other"""
LISTS = ("datasets", "metrics", "tags", "language", "base_model")


def read_front_matter(readme: str) -> Any:
    """The parsed YAML block; None without one.

    Raises:
        yaml.YAMLError: the block is not YAML.
    """
    match = FRONT_MATTER.match(readme)
    return yaml.safe_load(match[1]) if match else None


def card_data(commit: Commit) -> dict[str, Any]:
    """Metadata of the README.md of a commit; {} if there are none, or none that can be read."""
    readme = commit.contents.get("README.md")
    try:
        metadata = read_front_matter(readme.content.decode()) if readme else None
    except (yaml.YAMLError, UnicodeDecodeError):
        metadata = None
    return metadata if isinstance(metadata, dict) else {}


def card_problems(readme: str) -> tuple[list[str], list[str]]:
    """Errors, which make an upload fail, and warnings."""
    try:
        metadata = read_front_matter(readme)
    except yaml.YAMLError as error:
        return [f"YAML of the metadata is invalid: {error}"], []
    if not metadata:
        return [], ["empty or missing yaml metadata in repo card"]
    if not isinstance(metadata, dict):
        return ["the metadata must be a mapping"], []
    return list(field_errors(metadata)), []


def field_errors(metadata: dict[str, Any]) -> list[str]:
    errors = []
    licences = metadata.get("license", [])
    for licence in licences if isinstance(licences, list) else [licences]:
        if licence not in LICENCES.split():
            errors.append(f'"license" must be one of [{", ".join(LICENCES.split())}]')
    for name in LISTS:
        values = metadata.get(name, [])
        if any(not isinstance(value, str) for value in (values if isinstance(values, list) else [values])):
            errors.append(f'"{name}" must be a string or an array of strings')
    for name in ("library_name", "pipeline_tag", "license_name", "license_link"):
        if not isinstance(metadata.get(name, ""), str):
            errors.append(f'"{name}" must be a string')
    return errors
