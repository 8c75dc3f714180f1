"""Which parser reads which type. Modules are imported when needed: a child reads one file only."""

from pathlib import Path

from app.domain.documents import MediaType, ParsedDocument
from app.domain.errors import EmptyDocument
from ingestion.parsers.builder import TextLimits


def parse(path: Path, media_type: MediaType, limits: TextLimits) -> ParsedDocument:
    """Return the text and the structure of a file.

    Hostile files are the sandbox's business: call this in a child process.

    Raises:
        EmptyDocument: No letter and no digit.
        EncryptedDocument: The file asks for a password.
        UnreadableDocument: The file is damaged or not of its type.
        DocumentTooComplex: A limit was passed.
    """
    if path.stat().st_size == 0:
        raise EmptyDocument("the file is empty (0 bytes)")
    match media_type:
        case MediaType.PDF:
            from ingestion.parsers import pdf

            return pdf.parse(path, limits)
        case MediaType.DOCX:
            from ingestion.parsers import docx

            return docx.parse(path, limits)
        case MediaType.PPTX:
            from ingestion.parsers import pptx

            return pptx.parse(path, limits)
        case MediaType.XLSX:
            from ingestion.parsers import xlsx

            return xlsx.parse(path, limits)
        case MediaType.HTML:
            from ingestion.parsers import html

            return html.parse(path, limits)
        case MediaType.MARKDOWN:
            from ingestion.parsers import markdown

            return markdown.parse(path, limits)
        case MediaType.TEXT:
            from ingestion.parsers import text

            return text.parse(path, limits)
        case MediaType.CSV:
            from ingestion.parsers import csv

            return csv.parse(path, limits)
        case MediaType.EML:
            from ingestion.parsers import eml

            return eml.parse(path, limits)
