"""Reads docs/openapi.yaml from standard input and writes it as JSON. Each example must keep to its schema."""

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


document = yaml.safe_load(sys.stdin)
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
