"""Where towers come from: names, files, the hub, and checkpoint directories both ways.

``sources``, ``hub``, ``listing``, ``known_models`` and ``space`` need no torch; ``checkpoint``,
``weights`` and ``towers`` do, and are imported only when weights are opened. So do ``building``
(towers of random weights), ``freezing`` (what is trained) and ``averaging`` (between two weights).
"""
