"""relay: the ground's bundle node, its store on disk, its neighbours and its applications."""
