"""The text of haina-brook made again from public repositories, for people who have not the data pack.

`pack.rebuild` turns what `haina/data/fetch.py` brought into a folder of the pack's shape: the same files, the same
fields. Each module knows the files of some repositories and gives their rows with a key (works, headwords: what must
not stand in train and valid at once). It does not know git nor what is done with the rows. The rows are not the pack's
one by one: which part of a large source was taken, and what was held out, chance decided there, and a hash here.
"""
