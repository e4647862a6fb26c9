"""Messages of a queue of batches: what is in them, and what a queue does with them. Does no I/O."""

import re
from typing import Protocol

import msgspec
from msgspec import Struct

from asyncstream.error_texts import encodable
from asyncstream.errors import InputError
from asyncstream.runs.places import Run

# The most seconds that SQS waits for a message.
LONG_POLL = 20
# The most characters of a reason. SQS counts attributes as bytes of the message.
MAX_REASON = 500
# What SQS refuses in a body or an attribute, and line breaks, which would start another line of a log.
_NOT_PLAIN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]")


class Message(Struct, frozen=True):
    """A message that this worker has received, and that others do not see for a while.

    Attributes:
        body: its text. Anyone with sqs:SendMessage may have written it: see `parse_body`.
        handle: names this receipt of it to the queue.
        receives: how often it was received, with this time.
    """

    body: str
    handle: str
    receives: int


class Queue(Protocol):
    """A queue to take messages from."""

    def receive(self, seconds: int, wait: int) -> Message | None:
        """Wait up to `wait` seconds for a message and hide it for `seconds`. Return None if none came."""

    def hide(self, message: Message, seconds: int) -> bool:
        """Hide a message for so many seconds from now; 0 shows it.

        Return whether it is still this worker's.
        """

    def count(self) -> int:
        """Return about how many messages there are, also hidden and delayed ones."""

    def delete(self, message: Message) -> None:
        """Delete a message. It is not an error if it is gone."""


class DeadLetters(Protocol):
    """A queue for messages that no worker could finish."""

    def send(self, body: str, attributes: dict[str, str]) -> None:
        """Send a message with attributes."""


class _Body(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a message: `{"batch": "s3://bucket/RUN/plan/000123.jsonl"}`."""

    batch: str


_decoder = msgspec.json.Decoder(_Body)


def encode_body(run: Run, number: int) -> str:
    """Return the body of the message for a batch."""
    return msgspec.json.encode(_Body(run.batch(number).uri)).decode()


def parse_body(body: str, only: Run | None) -> tuple[Run, int]:
    """Return the run and the number of the batch that a message names.

    Args:
        body: the text. Anyone with sqs:SendMessage may have written it.
        only: the run whose batches are allowed; None: those of any run.

    Raises:
        InputError: it is not the body of a message for a batch, or names one of another run.
    """
    try:
        batch = _decoder.decode(encodable(body).encode()).batch
    except msgspec.DecodeError as error:
        raise InputError(
            f'the message {plain(body, 100)!r} names no batch: {error}. Send {{"batch": "s3://..."}}'
        ) from None
    run, number = Run.of_batch(batch)
    if only is not None and run != only:
        raise InputError(f"{batch} is not of {only.uri}: send it to the queue of its own run")
    return run, number


def plain(text: str, most: int = MAX_REASON) -> str:
    """Return the start of a text in one line, with U+FFFD for each character that SQS refuses."""
    return _NOT_PLAIN.sub("\ufffd", encodable(text)[:most])
