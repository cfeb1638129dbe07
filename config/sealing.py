"""The keys that stored answers and questions are sealed with, for both planes."""

from config import env


def encryption_keys() -> str:
    """Return the setting, or nothing where there is none.

    Raises:
        MissingSetting: it is not what it should be.
    """
    text = env.text("CACHE_ENCRYPTION_KEYS")
    if text:
        from cacheproxy.cache.sealing import BadKeys, Keyring  # its package is large

        try:
            Keyring.parse(text)
        except BadKeys as problem:
            raise env.MissingSetting(f"CACHE_ENCRYPTION_KEYS: {problem}") from problem
    return text
