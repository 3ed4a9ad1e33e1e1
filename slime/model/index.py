"""Names in an index of weights: they come from elsewhere and say which files are opened."""


def is_weights_file(name: object) -> bool:
    """Whether it can be a file of safetensors in the folder of the index itself."""
    return (
        isinstance(name, str)
        and name.endswith(".safetensors")
        and name.isprintable()
        and "/" not in name
    )
