"""The errors' contract: one base, a builtin as second parent, and a flag whether a retry may help."""

import pytest

import asyncstream
from asyncstream import error_texts, errors, kept_errors
from asyncstream.errors import AsyncstreamError

ERRORS = [
    (errors.ConfigError("x"), ValueError, False),
    (errors.InputError("x"), ValueError, False),
    (errors.NothingToTransfer("x"), ValueError, False),
    (errors.SourceNotFound("x"), FileNotFoundError, False),
    (errors.BucketNotFound("x"), FileNotFoundError, False),
    (errors.AccessDenied("x"), PermissionError, False),
    (errors.SourceChanged("x"), RuntimeError, False),
    (errors.NotModified("x"), RuntimeError, False),
    (errors.DestinationExists("x"), FileExistsError, False),
    (errors.DeadlineExceeded("x"), TimeoutError, False),
    (errors.Cancelled("x"), RuntimeError, False),
    (errors.ConnectionFailed("x"), ConnectionError, True),
    (errors.ConnectionClosed("x"), errors.ConnectionFailed, True),
    (errors.ReplyTimeout("x"), ConnectionError, True),
    (errors.TruncatedBody("x"), ConnectionError, True),
    (errors.ChecksumMismatch("x"), RuntimeError, True),
    (errors.ServiceBusy("x"), RuntimeError, True),
    (errors.SlowDown("x"), errors.ServiceBusy, True),
    (errors.TransformError("x"), ValueError, False),
    (errors.CorruptInput("x"), errors.TransformError, False),
    (errors.DamagedInput("x"), errors.CorruptInput, False),
    (errors.MemoryNeeded("x"), errors.TransformError, False),
    (errors.LineTooLong("x"), errors.TransformError, False),
    (errors.CutInQuotes("x"), ValueError, False),
    (errors.OutputTooLarge("x"), errors.TransformError, False),
    (errors.CredentialsExpired("x"), PermissionError, True),
    (errors.ChecksumRefused("x"), RuntimeError, True),
    (errors.OtherVersion("x"), errors.SourceChanged, False),
    (errors.NothingYet("x"), BlockingIOError, False),
    (errors.BuffersNeeded("x"), RuntimeError, False),
    (errors.NotResumable("x"), ConnectionError, False),
    (errors.FileError("x"), OSError, False),
    (errors.WrongRegion("x", "eu-west-1"), RuntimeError, True),
    (errors.AddressRefused("x"), PermissionError, False),
    (errors.HostNotFound("x"), ConnectionError, False),
    (errors.ServerNotTrusted("x"), ConnectionError, False),
    (errors.RedirectRefused("x"), PermissionError, False),
    (errors.BodyTooLarge("x"), ValueError, False),
    (errors.BodyUnreadable("x"), ValueError, False),
    (errors.PageFailed("x", 403), RuntimeError, False),
    (errors.PageNotFound("x", 404), FileNotFoundError, False),
    (errors.DatabaseError("x", "0A000"), RuntimeError, False),
    (errors.TableNotFound("x"), LookupError, False),
    (errors.TableMismatch("x"), LookupError, False),
    (errors.RowRefused("x"), ValueError, False),
    (errors.TransactionConflict("x"), errors.DatabaseError, True),
    (errors.FilesFailed("x"), RuntimeError, False),
    (errors.FilesFailedForNow("x"), errors.FilesFailed, True),
    (errors.GatheringFailed("x"), RuntimeError, False),
    (errors.S3Error("x", "Teapot", 418), RuntimeError, False),
    (errors.ReplyIncomplete("x"), errors.S3Error, False),
    (errors.UploadGone("x"), errors.S3Error, False),
    (errors.CopyRefused("x"), errors.S3Error, False),
    (errors.PartsMissing("x"), errors.AsyncstreamError, False),
    (errors.WriteConflict("x"), errors.S3Error, False),
    (errors.PartsNotListed("x"), errors.S3Error, False),
]
STARTS_OVER = {
    errors.DamagedInput,
    errors.ChecksumMismatch,
    errors.NotResumable,
    errors.PartsNotListed,
    errors.UploadGone,
    errors.CopyRefused,
    errors.WriteConflict,
}


@pytest.mark.parametrize(("error", "builtin", "retryable"), ERRORS)
def test_an_error_has_a_base_a_builtin_and_a_retryable_flag(
    error: AsyncstreamError, builtin: type[Exception], retryable: bool
) -> None:
    """It can be caught by its base or by the builtin."""
    assert isinstance(error, AsyncstreamError)
    assert isinstance(error, builtin)
    assert error.retryable == retryable
    assert str(error) == "x"


def test_every_error_class_is_in_that_table() -> None:
    defined = {value for value in vars(errors).values() if isinstance(value, type)}
    defined = {kind for kind in defined if issubclass(kind, AsyncstreamError)}

    assert {type(error) for error, _, _ in ERRORS} == defined - {AsyncstreamError}


def test_only_lost_bytes_or_uploads_start_a_file_over() -> None:
    assert {type(error) for error, _, _ in ERRORS if error.starts_over} == STARTS_OVER


def test_every_public_name_exists() -> None:
    assert [name for name in asyncstream.__all__ if not hasattr(asyncstream, name)] == []


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    """Return an error with frames, raised from another error or alone."""
    try:
        raise error from cause
    except Exception as caught:  # noqa: BLE001 - the test inspects it
        return caught


def attribute_error() -> Exception:
    try:
        return (b"content" * 1_000).absent  # type: ignore[attr-defined, no-any-return]
    except AttributeError as error:
        return error


def with_attribute() -> Exception:
    error = ValueError("x")
    error.reply = object()  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    "cause",
    [
        attribute_error(),
        with_attribute(),
        ValueError("x" * 10_000),
        KeyError(object()),
        ExceptionGroup("x", [ValueError()]),
    ],
    ids=["layout", "attribute", "text", "argument", "group"],
)
def test_a_cause_that_holds_more_than_words_is_removed(cause: Exception) -> None:
    error = raised(errors.TransformError("x"), cause)

    kept_errors.lighten(error)

    assert (error.__cause__, error.__context__, error.__traceback__) == (None, None, None)


def test_causes_of_words_stay_without_frames() -> None:
    first = raised(FileNotFoundError(2, "No such file", "x"))
    second = raised(errors.SourceNotFound("y"), first)
    error = raised(errors.TransformError("z"), second)

    kept_errors.lighten(error)

    assert error.__cause__ is second
    assert second.__cause__ is first
    assert [each.__traceback__ for each in (error, second, first)] == [None] * 3


def test_no_more_than_ten_causes_stay() -> None:
    error: Exception = ValueError("0")
    for number in range(1, 30):
        error = raised(errors.TransformError(str(number)), error)

    kept_errors.lighten(error)

    assert len(list(error_texts.chain(error))) == kept_errors.MOST_CAUSES


def test_a_ring_of_causes_has_an_end() -> None:
    first, second = ValueError("1"), ValueError("2")
    first.__cause__, second.__cause__ = second, first
    assert list(error_texts.chain(first)) == [first, second]
