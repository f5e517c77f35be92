"""The version of gruvihttp, in its only place: the packaging and every layer read it from here."""

__all__ = ["PRODUCT_ID", "__version__"]

__version__ = "0.1.0"

# what we call ourselves in `Server` and `User-Agent` (RFC 9110 §10.1.5, §10.2.4)
PRODUCT_ID = f"gruvihttp/{__version__}"
