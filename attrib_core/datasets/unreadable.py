"""Images that cannot be used: what a source, a data set and a sweep say of them."""

from collections.abc import Mapping


class DamagedImageError(Exception):
    """The bytes of the image at `index` of a source could not be fetched; `reason` says why. It may work later."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(index, reason)
        self.index, self.reason = index, reason


class UnreadableImagesError(ValueError):
    """Images that no row can be made of as long as their bytes stay as they are; `reasons` by index.

    A source raises it for bytes that are no image. A sweep's job may raise it for images of a data set that it
    cannot work on, such as those whose gradient is no number: all others of their shard are done then.
    """

    def __init__(self, reasons: Mapping[int, str], message: str | None = None) -> None:
        super().__init__(message or "; ".join(f"image {index}: {text}" for index, text in reasons.items()))
        self.reasons = dict(reasons)

    def __reduce__(self) -> tuple[type["UnreadableImagesError"], tuple[dict[int, str], str]]:
        return UnreadableImagesError, (self.reasons, str(self))
