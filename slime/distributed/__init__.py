"""How train workers find each other, and what they compute together.

`slime.distributed.groups` needs megatron-core; import it by name, in train workers only.
"""

from slime.distributed.rendezvous import Rendezvous, RendezvousError

__all__ = ["Rendezvous", "RendezvousError"]
