"""Holds the manifests on standard input to their schemas, unknown fields refused: `… tests.deploy.schemas 1.31 1.37`.

Kubernetes' own kinds are held to the schemas of the versions named, by kubernetes-validate. KServe's are held to the
types of its Python client, which are made from its resource definitions; what stands in them of Kubernetes, such as a
container, to Kubernetes' client. Runs in an environment with these three, which `.ci/run` makes. Prints the kinds in
order, and ends at the first that does not keep to its schema.
"""

import re
import sys
from collections.abc import Sequence
from typing import Any

import kserve.models
import kubernetes.client
import kubernetes_validate
import yaml

_KSERVE = "serving.kserve.io/"
_PRIMITIVE: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "float": (int, float), "bool": bool}


def check(manifest: dict[str, Any], versions: Sequence[str]) -> None:
    """Holds one manifest to its schema, in each version of Kubernetes.

    Raises:
        Exception: it does not keep to it; each of the libraries has an exception of its own.
    """
    api = manifest["apiVersion"]
    if api.startswith(_KSERVE):
        name = api.removeprefix(_KSERVE)
        _check_fields(manifest, f"{name[0].upper()}{name[1:]}{manifest['kind']}", manifest["kind"])
    else:
        for version in versions:
            kubernetes_validate.validate(manifest, version, strict=True)


def _check_fields(value: Any, kind: str, path: str) -> None:
    """Goes down the types of KServe's client, by their names in its own notation."""
    if found := re.fullmatch(r"list\[(.+)\]", kind):
        _expect(value, list, path)
        for index, item in enumerate(value):
            _check_fields(item, found[1], f"{path}[{index}]")
    elif found := re.fullmatch(r"dict\(str, (.+)\)", kind):
        _expect(value, dict, path)
        for name, item in value.items():
            _check_fields(item, found[1], f"{path}.{name}")
    elif kind in _PRIMITIVE:
        _expect(value, _PRIMITIVE[kind], path)
    elif (model := getattr(kserve.models, kind, None)) is not None:
        _expect(value, dict, path)
        types = {name: model.openapi_types[attribute] for attribute, name in model.attribute_map.items()}
        for name, item in value.items():
            if name not in types:
                raise ValueError(f"{path} has no field {name}")
            _check_fields(item, types[name], f"{path}.{name}")
        model(**{attribute: value[name] for attribute, name in model.attribute_map.items() if name in value})
    else:
        getattr(kubernetes.client, kind).model_validate(value)


def _expect(value: Any, kind: type | tuple[type, ...], path: str) -> None:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"{path} is {value!r}")


def main() -> int:
    """Checks every manifest; returns 1 if one does not keep to its schema."""
    for manifest in yaml.safe_load_all(sys.stdin):
        try:
            check(manifest, sys.argv[1:])
        except Exception as error:
            sys.stdout.write(f"{manifest['kind']}: {getattr(error, 'message', error)}\n")
            return 1
        sys.stdout.write(f"{manifest['kind']}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
