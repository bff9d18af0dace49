"""HDF5 files: Keras models and weights, MATLAB 7.3, and any other file of datasets.

Read by our own code, which opens no other file whatever a file asks for. Numbered reasons:

==== ======================================================================================================
code reason
==== ======================================================================================================
HD01 no HDF5 signature, or a superblock that is not known
HD02 a place outside the file
HD03 damaged metadata: header, B-tree, heap, datatype, dataspace
HD04 a construct that is not read (huge heap objects, unusual floats, newer chunk indexes)
HD05 values in another file (external storage, virtual dataset): never opened
HD06 a filter that is not read
HD07 sizes that disagree: a dataset with fewer bytes than its shape needs, chunks that overlap
HD08 compressed data damaged, or of another size than it claims
HD09 two datasets of one name
HD10 warning: a link out of the group (external or soft), which is not followed
HD11 Python byte code in a Lambda layer (never run)
==== ======================================================================================================
"""

from __future__ import annotations

from diffai.formats.hdf5.file import SIGNATURE
from diffai.formats.hdf5.reader import Hdf5Checkpoint, read_file
from diffai.formats.stored import reader

NAME = "hdf5"


def recognise(head: bytes, size: int, name: str) -> bool:
    """Whether content is HDF5: the signature at byte 0, 512, 1024, or 2048."""
    return any(head.startswith(SIGNATURE, at) for at in (0, 512, 1024, 2048))


open_checkpoint, check = reader(Hdf5Checkpoint, read_file, "HD03")
