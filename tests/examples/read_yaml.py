"""read_yaml.py FILE [SCHEMA]: prints the documents of a YAML file as JSON; each must follow the JSON schema, if given."""

import json
import sys

import jsonschema
import yaml


class Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, as Compose and Kubernetes do."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if len(keys) != len(set(keys)):
            raise yaml.constructor.ConstructorError(None, None, f"a key stands twice in {keys}", node.start_mark)
        return super().construct_mapping(node, deep)


with open(sys.argv[1], encoding="utf-8") as file:
    documents = list(yaml.load_all(file, Loader))
for path in sys.argv[2:]:
    with open(path, encoding="utf-8") as file:
        validator = jsonschema.Draft202012Validator(json.load(file))
    errors = [error for document in documents for error in validator.iter_errors(document)]
    if errors:
        sys.exit("\n".join(f"{error.json_path}: {error.message}" for error in errors))
json.dump(documents, sys.stdout)
