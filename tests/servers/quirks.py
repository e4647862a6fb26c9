"""The quirks of S3 servers that people use, by the words that name them in the table of servers."""

from .lesser_s3 import INVALID_ARGUMENT, LOCKED, NOT_IMPLEMENTED, Quirk, refusing, wants_even_parts
from .listener import CONTINUE
from .odd_s3 import reply

# A request whose reply describes an object.
CHECKSUM = "x-amz-checksum-|x-amz-trailer:|content-md5:"
READ = r"^(get|head) /[^/?]+/"
LISTING = r"^get [^ ]*list-type=2"
REFUSALS = {"400": INVALID_ARGUMENT, "501": NOT_IMPLEMENTED}
ETAG = rb'(?i)\betag: "([^"\r]*)"'
LISTED = rb"<ETag>(?:&quot;|\")(.*?)(?:&quot;|\")</ETag>"

QUIRKS = {
    **{
        f"{status} to checksums of uploads": Quirk(refusing(r"^put .*\r\nx-amz-checksum-", refusal))
        for status, refusal in REFUSALS.items()
    },
    **{
        f"{status} to x-amz-checksum-mode": Quirk(refusing(r"\r\nx-amz-checksum-mode:", refusal))
        for status, refusal in REFUSALS.items()
    },
    "501 to a checksum's type at Create": Quirk(refusing(r"^post .*\r\nx-amz-checksum-type:")),
    "Object Lock": Quirk(refusing(rf"^put (?!.*\r\n({CHECKSUM}))", LOCKED)),
    "parts of one size only": Quirk(wants_even_parts),
    "ETags without quotes": Quirk(
        rewrites=[("", ETAG, rb"ETag: \1"), (LISTING, LISTED, rb"<ETag>\1</ETag>")],
    ),
    "weak ETags": Quirk(
        rewrites=[(READ, ETAG, rb'ETag: W/"\1"'), (LISTING, LISTED, rb"<ETag>W/&quot;\1&quot;</ETag>")],
    ),
    "other ETags in listings": Quirk(rewrites=[(LISTING, LISTED, rb"<ETag>&quot;listed-\1&quot;</ETag>")]),
    "aws-chunked kept": Quirk(
        rewrites=[(READ, rb"(?i)\r\netag:", rb"\r\nContent-Encoding: aws-chunked\r\nETag:")]
    ),
    "417 to Expect": Quirk(interim=reply("417 Expectation Failed")),
    "102 before 100": Quirk(interim=b"HTTP/1.1 102 Processing\r\n\r\n" + CONTINUE),
    "If-None-Match of writes ignored": Quirk(ignores={"put": ["if-none-match"], "post": ["if-none-match"]}),
    "501 to If-None-Match of writes": Quirk(refusing(r"^(put|post) .*\r\nif-none-match:")),
    "conditions of reads ignored": Quirk(ignores={"get": ["if-match", "if-none-match"]}),
    "501 to ListParts": Quirk(refusing(r"^get [^ ]*uploadid=")),
    "501 to ListMultipartUploads": Quirk(refusing(r"^get [^ ]*\?uploads")),
    "501 to part numbers": Quirk(refusing(r"^head [^ ]*partnumber=")),
    "501 to tags": Quirk(refusing(r"\r\nx-amz-tagging:")),
}
