"""What workers tell one another about plain PUTs under way: who has one to this place, and please end it.

`board` shows all of them roughly who has what, so that hardly anybody is asked in vain; `letters` are the
messages, and `post` carries them. A neighbour that is dead or stuck is not waited for.
"""

from hmacfs.ipc.channel import ChannelFds, Channels, Peers

__all__ = ["ChannelFds", "Channels", "Peers"]
