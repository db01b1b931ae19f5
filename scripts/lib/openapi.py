"""Reads docs/openapi.yaml from standard input and writes it as JSON. Each example must keep to its schema, and no key may be
there without a value, as those are that a comma in a flow mapping makes of the rest of a sentence."""

import json
import sys

import jsonschema_rs
import yaml


def described(node, path=()):
    """Everything in the document that has a schema and may have examples."""
    if isinstance(node, dict):
        if "schema" in node:
            yield path, node
        for key, value in node.items():
            yield from described(value, (*path, key))
    elif isinstance(node, list):
        for at, value in enumerate(node):
            yield from described(value, (*path, at))


def without_value(node, path=()):
    """Where there is a key without a value, or one that is no word; what is in examples is not ours."""
    if isinstance(node, dict):
        for key, value in node.items():
            if value is None or " " in str(key):
                yield (*path, key)
            if key not in ("example", "examples", "const", "enum"):
                yield from without_value(value, (*path, key))
    elif isinstance(node, list):
        for at, value in enumerate(node):
            yield from without_value(value, (*path, at))


document = yaml.safe_load(sys.stdin)
for path in without_value(document):
    sys.exit(f"{'/'.join(map(str, path))}: no key, or no value; does a sentence with a comma stand in quotes?")
for path, node in described(document):
    examples = [entry["value"] for entry in node.get("examples", {}).values()]
    examples += [node["example"]] if "example" in node else []
    schema = {"allOf": [node["schema"]], "components": document["components"]}
    validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    for example in examples:
        for error in validator.iter_errors(example):
            sys.exit(f"{'/'.join(map(str, path))}: {error.message}")
json.dump(document, sys.stdout, ensure_ascii=False, separators=(",", ":"))
print()
