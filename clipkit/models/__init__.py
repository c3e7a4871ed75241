"""Models: names -> weights -> towers, checkpoint directories both ways, and what is trained.

From a name to towers: ``sources`` resolves the name, ``locate`` finds the files, ``hub`` downloads
what is missing, ``checkpoint`` builds the towers and reads the weights with ``weights``. Beside
them ``known_models`` and ``listing`` say which models there are, and ``space_id`` which embeddings
compare; none of those needs torch but ``checkpoint`` and ``weights``.

On torch: ``towers``, ``open_clip_towers`` (open_clip's own modules), ``building`` (random weights),
``freezing`` (which weights are trained), ``wise_ft`` (between two sets of weights).
"""
