//! Readings that are pushed in: the real binary, and other people's tools.
