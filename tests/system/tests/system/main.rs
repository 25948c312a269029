//! The stories, one module each. Every test starts a system of its own and ends it.

mod story;
