"""What a server is told: its limits, its keys, what it logs. All of it crosses process borders."""

from dataclasses import dataclass, field

from clipkit.web.hosts import AllowedHosts


@dataclass(frozen=True)
class Limits:
    """How much one request, and all of them together, may ask for."""

    max_body_bytes: int = 32 * 2**20
    max_pixels: int = 50_000_000  # that may be decoded of an image; a JPEG is decoded scaled
    max_texts: int = 2048  # of one request for embeddings; OpenAI's own limit
    max_images: int = 64  # likewise
    max_labels: int = 256
    max_k: int = 1000  # hits
    max_requests: int = 512  # under way at once; more are told to come again

    @property
    def max_pending_bytes(self) -> int:
        """Bytes of all bodies that are received or worked on: some images, not one a client."""
        return max(512 * 2**20, 2 * self.max_body_bytes)


MAX_PROMPTS = 4096  # labels times templates of one request: some seconds of a core
MAX_TEXT = 8192  # characters; models read some 70 words
MAX_WAITING_TEXTS = 4096  # for the text encoder, of all requests
MAX_WAITING_IMAGES = 256  # for the image encoder: 150 MB once decoded
BODY_SECONDS = 20  # until the body of a request has been received
SEND_SECONDS = 60  # that a client may take to receive a part of its answer
BUSY_SECONDS = 1  # after which one who was refused may come again


@dataclass(frozen=True)
class ServerSettings:
    """Who is answered, how much, and what is logged of it."""

    hosts: AllowedHosts = field(default_factory=AllowedHosts)  # without keys: names it answers to
    keys: tuple[str, ...] = field(default=(), repr=False)  # any of them is needed; none: no key
    limits: Limits = field(default_factory=Limits)
    logs_queries: bool = False  # whether the access log says what was asked for
    drain_seconds: float = 0.0  # between "not ready" and no new connections, when it is ended
    grace_seconds: float = 30.0  # that requests under way may then still take
