"""Whatever is in config.json, reading it ends with an architecture or with one short line."""

import pytest
from config_values import changed_configs

from slime.config.schema import ConfigError
from slime.model.architecture import FAMILIES, read_architecture


@pytest.mark.parametrize("family", FAMILIES)
def test_every_field_may_have_any_value(family, tmp_path):
    folder = tmp_path / "model"
    refused = 0
    for field, _ in changed_configs(folder, family):
        said = refusal(folder)
        if said is None:
            continue
        beginning, _, what = said.partition("config.json: ")
        assert beginning == f"model.path: {folder}/"
        assert what.isprintable()
        assert len(what) < 250
        name = field.rpartition(" ")[2]
        assert name in what or name in ("type", "full_attention")
        refused += 1
    assert refused > 500


def refusal(folder):
    try:
        read_architecture(folder)
    except ConfigError as error:
        return str(error)
    return None
