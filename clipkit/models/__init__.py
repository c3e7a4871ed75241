"""Models: names to weights to towers, and checkpoint directories both ways.

``sources``, ``hub``, ``listing``, ``known_models`` and ``space_id`` need no torch; ``checkpoint``,
``weights`` and ``towers`` do, and are imported only when weights are opened. So do ``building``
(towers of random weights), ``freezing`` (what is trained) and ``wise_ft`` (between two weights).
"""
