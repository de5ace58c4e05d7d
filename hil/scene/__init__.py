"""A small true world: what there is, where it is at any moment, and what each sensor would make of it.

Not a physics engine and not a benchmark of perception: it exists so that the whole chain can be driven with inputs
whose truth is known. Everything is a function of a scene and a time; the same seed gives the same bytes.

    world.Scene ─┬─ paint  → pictures with boxes → film (MP4)
                 ├─ radar  → plots → asterix (CAT048 datagrams)
                 ├─ ais    → AIVDM sentences
                 ├─ gnss   → GGA and RMC sentences
                 └─ words  → reports of people in four languages
    players: the same, over loopback sockets and an inbox folder, in real time
"""
