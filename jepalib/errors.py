"""The one exception for mistakes that a user can mend."""


class JepalibError(Exception):
    """Bad input, parameter or file; the message names it and says what to do.

    The command line prints the message without a traceback and exits with status 2.
    """
