"""The released models; `make weights` fills this folder."""
