"""The packet tap: the kernel's receive time of every TCP segment, also of those that it joins in a socket's queue.

Needs Linux and CAP_NET_RAW. What the tap did not see keeps the socket's own time and its bound.
"""

if __name__ != "tokenswarm.wire.tap":
    raise __import__("tokenswarm").bare_import(__name__)
