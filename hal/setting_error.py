"""What a setting that cannot be used raises. On its own, because `hal.release` must start at once."""


class SettingError(ValueError):
    """A setting cannot be used; the text names it and says what would do."""
