//! The stories, one module each. Every test starts a system of its own and ends it.

mod burst;
mod catalog;
mod certificates;
mod clashes;
mod conflict;
mod connections;
mod dry_run;
mod elsewhere;
mod embedded;
mod ending;
mod hostile;
mod maps;
mod membership;
mod metrics;
mod names;
mod operate;
mod outage;
mod registers;
mod restored;
mod settings;
mod signed;
mod spread;
mod story;
mod templates;
mod traffic;
mod users;
