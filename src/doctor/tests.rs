//! Whole boards.
