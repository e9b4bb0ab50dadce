"""The communicator of last resort: ranks that reach no peer, only a store that all of them reach.

In the order in which they build on each other::

    store             what a store has to be able to do
    redis_store       a Redis
    folder            a place for messages alone, among the user's files
    directory_folder  in a directory that all hosts mount
    object_folder     in S3
    file_store        messages as files in such a folder
    address           one or the other, by its URL
    mailbox           messages between members, and those that abort a group
    group             the Communicator
    world             opens groups

Slow (several round trips to the store for each collective) and correct.
"""

from elevon.comm.mediated.address import open_store
from elevon.comm.mediated.group import MediatedCommunicator
from elevon.comm.mediated.store import Store
from elevon.comm.mediated.world import MediatedWorld

__all__ = ["MediatedCommunicator", "MediatedWorld", "Store", "open_store"]
