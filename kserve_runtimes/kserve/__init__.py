"""Classes of the image's own: a `kserve.Model` that somebody wrote for KServe, served in a pool as it is."""
