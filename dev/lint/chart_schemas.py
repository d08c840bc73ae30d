#!/usr/bin/env python3
"""Writes JSON schemas of Kubernetes' own kinds for kubeconform, which would download them otherwise.

chart_schemas.py FOLDER SWAGGER: SWAGGER is the OpenAPI description in the Go module k8s.io/kubernetes.
"""

import json
import sys
from pathlib import Path

PREFIX = "#/definitions/"


def strict(schema, refers_to):
    """Rejects unknown fields, as the API server does. Notes which definitions the schema refers to."""
    if isinstance(schema, list):
        return [strict(item, refers_to) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if isinstance(schema.get("$ref"), str):
        refers_to.add(schema["$ref"].removeprefix(PREFIX))
    if schema.get("format") == "int-or-string":
        return {"type": ["integer", "string"]}
    schema = {key: strict(value, refers_to) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        schema["additionalProperties"] = False
    return schema


def main(folder, swagger):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    kinds = json.loads(Path(swagger).read_text())["definitions"]
    definitions, references = {}, {}
    for name, schema in kinds.items():
        references[name] = set()
        definitions[name] = strict(schema, references[name])
    definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"] = {"type": ["string", "number"]}
    for name, schema in definitions.items():
        for kind in schema.get("x-kubernetes-group-version-kind", []):
            # Options of requests have every group.
            if kind["kind"].endswith(("List", "Options", "Event")):
                continue
            needed, open_ = set(), [name]
            while open_:
                one = open_.pop()
                if one not in needed:
                    needed.add(one)
                    open_.extend(references[one])
            # As kubeconform names them: of the group only the first label.
            group = f"-{kind['group'].split('.')[0]}" if kind["group"] else ""
            file = folder / f"{kind['kind']}{group}-{kind['version']}.json".lower()
            text = {"$ref": PREFIX + name, "definitions": {it: definitions[it] for it in needed}}
            file.write_text(json.dumps(text))


main(*sys.argv[1:])
