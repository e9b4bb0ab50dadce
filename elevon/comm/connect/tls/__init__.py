"""TLS 1.3 around connections between ranks: all where it is asked for, relayed ones always.

In the order in which they build on each other::

    identity    a key and a certificate that live as long as the process, in its memory only
    way         bytes of one direction between two sockets
    pump        carries them between the engine's plain socket and the TLS connection
    wrapper    after the proof: certificates, handshake, and the pump
    policy       which connections are wrapped at all
"""

from elevon.comm.connect.tls.identity import need_cryptography
from elevon.comm.connect.tls.policy import TlsPolicy, can_encrypt
from elevon.comm.connect.tls.wrapper import AuthenticatedPeer, TlsWrapper

__all__ = ["AuthenticatedPeer", "TlsPolicy", "TlsWrapper", "can_encrypt", "need_cryptography"]
