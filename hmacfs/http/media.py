"""Media types of files: guessed by name, judged for display, and the Content-Disposition that follows.

Knows nothing of the host: the table is ours, so that every machine serves a name alike.
"""

from __future__ import annotations

import functools
import re
from typing import Final
from urllib.parse import quote

from hmacfs.http import names

DEFAULT_TYPE: Final = "application/octet-stream"
_TYPE_BYTES: Final = 255
"""RFC 6838 4.2 allows 127 to each half; longer ones with parameters do not occur."""

# RFC 9110 8.3.1. Narrower than its grammar by the tab and the non-ASCII bytes of a quoted string, which
# no head of ours may hold. Linear: each repetition begins with a character that nothing before it takes.
_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_QUOTED: Final = r'"[ !#-\[\]-~]*+(?:\\[ -~][ !#-\[\]-~]*+)*"'
_MEDIA_TYPE: Final = re.compile(rf"({_WORD}/{_WORD})(?: *+;(?: *+{_WORD}=(?:{_WORD}|{_QUOTED}))?)*", re.ASCII)
_SHOWN: Final = re.compile(r"(?:image|audio|video)/.+|text/plain")
# Anything+xml is parsed as XML by browsers and may carry scripts, image/svg+xml being the famous one.
_ACTIVE: Final = re.compile(r".*/(?:.*\+)?xml|.*/.*svg.*")
# What a quoted string may hold that no client is known to mistake; "%" is decoded by some (RFC 6266 D).
_UNQUOTABLE: Final = re.compile(r"[^\w .,!#$&'()+=@^`{}~\[\]-]", re.ASCII)
_ATTR_CHARS: Final = "!#$&+-.^_`|~"
"""RFC 8187 3.2.1: what stands for itself in an extended value besides letters and digits."""


def guess(name: str) -> str:
    """Return the media type that the ending of `name` suggests; DEFAULT_TYPE if it suggests none."""
    stem, _, ending = name.rpartition(".")
    return _TYPES.get(ending.lower(), DEFAULT_TYPE) if stem else DEFAULT_TYPE


def safe_type(content_type: str | None, name: str) -> str:
    """Return the signed type, exactly as signed, if it is a media type (RFC 9110 8.3.1); else guess.

    A signed "text/plain" gets no charset: browsers detect one where none is named, and a wrong one could not
    be overruled. A guessed one says utf-8, since then both halves are a guess and that is the likeliest.
    """
    if content_type is not None and _parse(content_type) is not None:
        return content_type
    return guess(name)


def inline(content_type: str) -> bool:
    """Whether a browser may show this type in place: pictures, sound, video and plain text, never markup.

    Parameters do not count. What is no media type at all is not shown.
    """
    kind = _parse(content_type)
    return kind is not None and _SHOWN.fullmatch(kind) is not None and _ACTIVE.fullmatch(kind) is None


def played(content_type: str) -> bool:
    """Whether a browser that is to show this type plays it: sound and video."""
    kind = _parse(content_type)
    return kind is not None and kind.startswith(("audio/", "video/"))


@functools.lru_cache(maxsize=1024)
def disposition(name: str, content_type: str) -> str:
    """Return the Content-Disposition: how to show the file, and its name (RFC 6266, RFC 8187).

    Both forms of the name are sent, the plain one first (RFC 6266 D): curl -J and wget know no other. It is
    cut where no file system could hold it.
    """
    how = "inline" if inline(content_type) else "attachment"
    short = names.shorten(name) if names.is_long(name) else name
    plain = _UNQUOTABLE.sub("_", short)
    extended = quote(name, safe=_ATTR_CHARS)
    if len(extended) > names.ENCODED_MOST:  # of a URL whose name had little to encode
        extended = quote(short, safe=_ATTR_CHARS)
    return f"{how}; filename=\"{plain}\"; filename*=UTF-8''{extended}"


@functools.lru_cache(maxsize=1024)
def _parse(content_type: str) -> str | None:
    """Return type and subtype in lower case; None if `content_type` is not a media type."""
    if len(content_type) > _TYPE_BYTES or (match := _MEDIA_TYPE.fullmatch(content_type)) is None:
        return None
    return match[1].lower()


# By the IANA registry where it has the type, else what browsers and shared-mime-info agree on.
_TYPES: Final = {
    # Pictures
    "apng": "image/apng",
    "avif": "image/avif",
    "bmp": "image/bmp",
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
    "ico": "image/vnd.microsoft.icon",
    "jfif": "image/jpeg",
    "jpe": "image/jpeg",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "jxl": "image/jxl",
    "png": "image/png",
    "psd": "image/vnd.adobe.photoshop",
    "svg": "image/svg+xml",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "webp": "image/webp",
    # Sound
    "aac": "audio/aac",
    "aif": "audio/aiff",
    "aiff": "audio/aiff",
    "amr": "audio/amr",
    "caf": "audio/x-caf",  # codespell:ignore caf
    "flac": "audio/flac",
    "m4a": "audio/mp4",
    "m4b": "audio/mp4",
    "mid": "audio/midi",
    "midi": "audio/midi",
    "mka": "audio/x-matroska",
    "mp3": "audio/mpeg",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",  # RFC 7845 9; audio/opus is RTP
    "spx": "audio/ogg",
    "wav": "audio/wav",
    "weba": "audio/webm",
    "wma": "audio/x-ms-wma",
    # Video
    "3g2": "video/3gpp2",
    "3gp": "video/3gpp",
    "avi": "video/x-msvideo",
    "flv": "video/x-flv",
    "m4v": "video/mp4",
    "mkv": "video/x-matroska",
    "mov": "video/quicktime",
    "mp4": "video/mp4",
    "mpeg": "video/mpeg",
    "mpg": "video/mpeg",
    "ogv": "video/ogg",
    "qt": "video/quicktime",
    "ts": "video/mp2t",
    "webm": "video/webm",
    "wmv": "video/x-ms-wmv",
    # Text
    "asc": "text/plain; charset=utf-8",
    "conf": "text/plain; charset=utf-8",
    "log": "text/plain; charset=utf-8",
    "text": "text/plain; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
    "css": "text/css",
    "csv": "text/csv",
    "diff": "text/x-diff",
    "htm": "text/html",
    "html": "text/html",
    "ics": "text/calendar",
    "js": "text/javascript",
    "md": "text/markdown",
    "mjs": "text/javascript",
    "patch": "text/x-diff",
    "vcard": "text/vcard",
    "vcf": "text/vcard",
    "vtt": "text/vtt",
    # Documents
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "epub": "application/epub+zip",
    "mobi": "application/x-mobipocket-ebook",
    "odg": "application/vnd.oasis.opendocument.graphics",
    "odp": "application/vnd.oasis.opendocument.presentation",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "odt": "application/vnd.oasis.opendocument.text",
    "pdf": "application/pdf",
    "ppt": "application/vnd.ms-powerpoint",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "ps": "application/postscript",
    "rtf": "application/rtf",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    # Data
    "geojson": "application/geo+json",
    "gpx": "application/gpx+xml",
    "json": "application/json",
    "kml": "application/vnd.google-earth.kml+xml",
    "sqlite": "application/vnd.sqlite3",
    "toml": "application/toml",
    "torrent": "application/x-bittorrent",
    "wasm": "application/wasm",
    "xdc": "application/webxdc+zip",
    "xhtml": "application/xhtml+xml",
    "xml": "application/xml",
    "yaml": "application/yaml",
    "yml": "application/yaml",
    # Fonts
    "otf": "font/otf",
    "ttf": "font/ttf",
    "woff": "font/woff",
    "woff2": "font/woff2",
    # Archives and packages
    "7z": "application/x-7z-compressed",
    "apk": "application/vnd.android.package-archive",
    "bz2": "application/x-bzip2",
    "deb": "application/vnd.debian.binary-package",
    "dmg": "application/x-apple-diskimage",
    "exe": "application/vnd.microsoft.portable-executable",
    "gz": "application/gzip",
    "iso": "application/x-iso9660-image",
    "jar": "application/java-archive",
    "rar": "application/vnd.rar",
    "rpm": "application/x-rpm",
    "tar": "application/x-tar",
    "tgz": "application/gzip",
    "xz": "application/x-xz",
    "zip": "application/zip",
    "zst": "application/zstd",
    # Keys and signatures
    "gpg": "application/pgp-encrypted",
    "p12": "application/pkcs12",
    "p7s": "application/pkcs7-signature",
    "pem": "application/x-pem-file",
    "pgp": "application/pgp-encrypted",
    "sig": "application/pgp-signature",
}
