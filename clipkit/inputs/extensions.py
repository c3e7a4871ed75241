"""Endings of file names that mean an image."""

RAW_EXTENSIONS = frozenset({
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos",
    ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
})  # fmt: skip
"""Lower-case endings of file names that mean a camera's RAW file."""

IMAGE_EXTENSIONS = RAW_EXTENSIONS | {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib",
    ".tif", ".tiff", ".avif", ".avifs", ".heic", ".heif", ".heics", ".heifs", ".hif", ".jxl",
    ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".tga",
    ".qoi",
    # Kinds that no decoder here reads: they are skipped, with that as the reason.
    ".psd", ".psb", ".xcf", ".exr", ".hdr", ".jxr", ".wdp", ".hdp", ".jls",
}  # fmt: skip
"""Lower-case endings of the file names that find_images takes."""
