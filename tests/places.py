"""What tests know of places: that they are objects of S3."""

from asyncstream.locations import Folder, S3Object, SourceFile, TargetFile


def key_of(place: SourceFile | TargetFile | Folder) -> str:
    """Return the key of an object."""
    return object_of(place).key


def object_of(place: SourceFile | TargetFile | Folder) -> S3Object:
    """Return the place as the object that it is."""
    assert isinstance(place, S3Object)
    return place
