"""Reads `template.yaml`."""

import yaml

from stack import TEMPLATE


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, which it reads as the long ones."""


def _intrinsic(loader: _Loader, tag: str, node: yaml.Node):
    name = tag if tag in ("Ref", "Condition") else f"Fn::{tag}"
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        return {name: value.split(".", 1) if tag == "GetAtt" else value}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _intrinsic)


def read() -> dict:
    return yaml.load(TEMPLATE.read_text(), Loader=_Loader)


def resources(kind: str) -> dict[str, dict]:
    """Returns the properties of each resource of a type, by logical id."""
    return {name: one["Properties"] for name, one in read()["Resources"].items() if one["Type"] == kind}
