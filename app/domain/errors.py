"""Every error that Opora raises on purpose.

OporaError
├── BadInput                  the caller can mend it
│   ├── InvalidField          422
│   │   └── InvalidLines      with the number and the reason of each line
│   ├── PromptTooLong         422, for the model's context
│   ├── BodyTooLarge          413
│   ├── UnsupportedMedia      415
│   ├── NotFound              404 (also: not yours to see)
│   └── Conflict              409
├── NotAllowed
│   ├── Unauthenticated       401
│   └── Forbidden             403
├── Overloaded                429, retry later
├── Unavailable               503, something that Opora leans on is down
│   ├── Stopping
│   ├── DatabaseUnavailable
│   │   └── DatabaseBusy      429, retry later
│   ├── IndexUnavailable
│   ├── ModelServerUnavailable
│   ├── ModelServerRefused
│   │   └── ModelContextExceeded
│   ├── ModelServerBroken
│   ├── ModelServerTimeout    504
│   ├── EmbedderUnavailable
│   ├── RerankerUnavailable
│   ├── EntailmentUnavailable
│   ├── StorageUnavailable
│   ├── IdentityUnavailable
│   └── SourceUnavailable
├── SchemaMismatch            502, the model does not keep to the schema
├── DocumentRejected          a terminal state of a document, with its reason
│   ├── EmptyDocument
│   ├── UnreadableDocument
│   ├── EncryptedDocument
│   ├── DocumentTooComplex
│   └── ParserDied
│       └── WorkerLost
├── JobCancelled              somebody asked the work to stop
└── OperatorError             a clear sentence for whoever starts Opora
    ├── ConfigurationError
    ├── FingerprintMismatch
    ├── DamagedGeneration
    ├── WorseIndex
    ├── EvaluationRefused
    ├── SourceRefused
    └── RemovalUnconfirmed

Each class has a stable `code` (docs/reference.md lists them all); statuses are chosen in
`app/api/errors.py` alone. A message says what to do next.
"""

from collections.abc import Sequence


class OporaError(Exception):
    """The root of the tree."""

    code = "internal"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadInput(OporaError):
    """The caller's request cannot be served as it is."""

    code = "bad_input"


class InvalidField(BadInput):
    """A field of the payload is missing, empty, over-long or of the wrong kind."""

    code = "invalid_field"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class InvalidLines(InvalidField):
    """Lines of an uploaded table are broken, so nothing of it is taken over.

    `lines` holds the number, from 1, and the reason of the first 20.
    """

    code = "invalid_lines"

    def __init__(self, field: str, lines: Sequence[tuple[int, str]]) -> None:
        self.lines = lines[:20]
        named = "; ".join(f"line {number}: {reason}" for number, reason in self.lines)
        more = len(lines) - len(self.lines)
        tail = f"; and {more} lines more" if more else ""
        super().__init__(field, f"nothing of the file is taken over: {named}{tail}")


class PromptTooLong(BadInput):
    """Question, instructions and schema leave no room in the model's context."""

    code = "prompt_too_long"


class BodyTooLarge(BadInput):
    """The request body is over the configured limit."""

    code = "body_too_large"


class UnsupportedMedia(BadInput):
    """The bytes are of a type that Opora does not read, whatever the name says."""

    code = "unsupported_media"


class NotFound(BadInput):
    """There is no such thing, or the caller may not see it: both answer alike."""

    code = "not_found"


class Conflict(BadInput):
    """The thing is in a state that does not allow the call."""

    code = "conflict"


class NotAllowed(OporaError):
    """The caller is unknown or lacks the scope."""

    code = "not_allowed"


class Unauthenticated(NotAllowed):
    """No credential, or one that is wrong, expired or revoked."""

    code = "unauthenticated"


class Forbidden(NotAllowed):
    """The credential is good but lacks the scope for this call."""

    code = "forbidden"


class Overloaded(OporaError):
    """Too much at once; the caller may retry after `retry_after_s` seconds."""

    code = "overloaded"

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(OporaError):
    """Something that Opora leans on does not answer; `retry_after_s` is when to try again."""

    code = "unavailable"

    def __init__(self, message: str, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Stopping(Unavailable):
    """The app is about to end: it begins no answer, and those in the making end soon."""

    code = "stopping"


class DatabaseUnavailable(Unavailable):
    """PostgreSQL does not answer."""

    code = "database_unavailable"


class DatabaseBusy(DatabaseUnavailable):
    """All of this process's connections to PostgreSQL are in use for too long."""

    code = "database_busy"


class IndexUnavailable(Unavailable):
    """No index is loaded in this process yet."""

    code = "index_unavailable"


class ModelServerUnavailable(Unavailable):
    """No connection to the model server, or it went away in mid-answer."""

    code = "model_server_unavailable"


class ModelServerRefused(Unavailable):
    """The model server answered with an error status."""

    code = "model_server_refused"


class ModelContextExceeded(ModelServerRefused):
    """Question, passages and turns before are longer than what the model reads at once."""

    code = "model_context_exceeded"


class ModelServerBroken(Unavailable):
    """The model server answered something that is not its protocol."""

    code = "model_server_broken"


class ModelServerTimeout(Unavailable):
    """The model server took longer than its limit."""

    code = "model_server_timeout"


class EmbedderUnavailable(Unavailable):
    """The embedding model is away, or its server does not answer or answers nonsense."""

    code = "embedder_unavailable"


class RerankerUnavailable(Unavailable):
    """The reranker's server does not answer, or answers nonsense."""

    code = "reranker_unavailable"


class SourceUnavailable(Unavailable):
    """A source cannot be reached or not be listed to its end; nothing of it was deleted."""

    code = "source_unavailable"


class EntailmentUnavailable(Unavailable):
    """The entailment model fails, so no sentence can be checked as configured."""

    code = "entailment_unavailable"


class SchemaMismatch(OporaError):
    """The model's JSON does not keep to the schema that was asked for, nor did its second try."""

    code = "schema_mismatch"


class DocumentRejected(OporaError):
    """A file ends in a terminal state without text; the message is its reason."""

    code = "document_rejected"


class EmptyDocument(DocumentRejected):
    """The file was read and holds no text."""

    code = "document_empty"


class UnreadableDocument(DocumentRejected):
    """The file is damaged or not what its type promises."""

    code = "document_unreadable"


class EncryptedDocument(DocumentRejected):
    """The file asks for a password."""

    code = "document_encrypted"


class DocumentTooComplex(DocumentRejected):
    """Reading the file passed a limit of memory, time, size or element count."""

    code = "document_too_complex"


class ParserDied(DocumentRejected):
    """The parser's process ended without a result."""

    code = "parser_died"


class WorkerLost(ParserDied):
    """Worker after worker ended while it worked on the file."""

    code = "worker_lost"


class StorageUnavailable(Unavailable):
    """The store of original files, or the disk, cannot be read or written."""

    code = "storage_unavailable"


class IdentityUnavailable(Unavailable):
    """The identity provider's keys cannot be fetched, so no access token can be checked."""

    code = "identity_unavailable"


class JobCancelled(OporaError):
    """The job was cancelled while it ran."""

    code = "job_cancelled"


class OperatorError(OporaError):
    """Opora cannot start or work as it is set up."""

    code = "operator"


class ConfigurationError(OperatorError):
    """A setting is unknown, malformed or contradicts another one."""

    code = "configuration"


class FingerprintMismatch(OperatorError):
    """Stored vectors were made by another embedder than the configured one."""

    code = "fingerprint_mismatch"


class DamagedGeneration(OperatorError):
    """A generation's files do not match their manifest."""

    code = "damaged_generation"


class WorseIndex(OperatorError):
    """A new index finds less than the one that serves; it is kept, and does not serve."""

    code = "worse_index"


class EvaluationRefused(OperatorError):
    """A dataset or a baseline is not what `opora evaluate` can measure with."""

    code = "evaluation_refused"


class SourceRefused(OperatorError):
    """A source cannot be read as it is set up, or leads where no admin allowed it to."""

    code = "source_refused"


class RemovalUnconfirmed(OperatorError):
    """A source lists nothing where files were before; a sync with `force` takes that for true."""

    code = "removal_unconfirmed"
