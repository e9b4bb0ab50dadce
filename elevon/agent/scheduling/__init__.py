"""The parts of the pure scheduler, in the order in which a task meets them.

::

    book       what is known of every task          slots, idle  what every rank does
    dataflow   inputs there? outputs still there?   ready        who waits for ranks, in which order
    lineage    how lost data is had again           policy       who starts next, who is held back
    placement  which ranks, which rows for whom     contexts     the numbers of communicators
    attempts   a gang runs, fails, leaves           endings      outcomes and who depends on them
    verdicts   why something failed, in words       explain      why something is pending, in words

``board`` is what they share. ``elevon.agent.scheduler`` puts them together; nothing else in the
package uses them. None of them has a clock, a socket or a random number: the same events give the
same commands, which is what makes the journal a full copy of the agent's mind.
"""
