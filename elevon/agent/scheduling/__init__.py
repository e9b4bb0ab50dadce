"""The parts of the pure scheduler, in the order in which a task meets them.

::

    records       what is known of every task       ranks, idle_ranks  what every rank does
    dependencies  inputs there? outputs needed?     queue              tasks that wait for ranks
    lineage       how lost data is recomputed       policy             what starts next
    placement     which ranks, which rows for each  communicators      their numbers
    attempts      a gang runs, fails, leaves        outcomes           how tasks end
    failures      why something failed, in words    explain            why something is pending
    invariants    what holds between two events

``state`` is what they share, ``events`` what comes in and goes out, and ``scheduler`` puts them
together; nothing else in the package uses them. None of them has a clock, a socket or a random
number: the same events give the same commands, which is what makes the journal a full copy of the
agent's mind.
"""
