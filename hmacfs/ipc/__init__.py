"""What workers tell one another about plain PUTs under way: which has one to this place, and please end it.

`presence` shows all of them roughly which has what, so that hardly any is asked in vain; `messages` are what
they send, and `channel` carries them. A worker that is dead or stuck is not waited for.
"""

from hmacfs.ipc.channel import ChannelFds, Channels, Peers

__all__ = ["ChannelFds", "Channels", "Peers"]
