"""command=check proves the loss on a config and a machine; command=explain shows what it weighs."""
