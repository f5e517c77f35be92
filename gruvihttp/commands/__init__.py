"""The commands of `gruvihttp`, a module for each, and what they need.

A module that is named like a command declares it: arguments, options, help. It imports little, so that ``--help`` is
there at once, and above all neither gevent nor sockets, so that `serve` can monkey-patch before anything is imported
that would notice. What a command *does* is in a module of its own, which the declaration loads by name.
"""
