"""TLS 1.3 around connections between ranks: all for those who ask for it, relayed ones for all.

In the order in which they build on each other::

    identity    a key and a certificate that live as long as the process, in its memory only
    way         bytes of one direction between two sockets
    pump        carries them between the engine's plain socket and the TLS connection
    wrapping    after the proof: certificates, handshake, and the pump
    cover       which connections are wrapped at all
"""

from elevon.comm.connect.tls.cover import Cover, can_encrypt
from elevon.comm.connect.tls.identity import need_cryptography
from elevon.comm.connect.tls.wrapping import Guest, Wrapping

__all__ = ["Cover", "Guest", "Wrapping", "can_encrypt", "need_cryptography"]
