//! When a new worker has taken over, as the workers themselves tell it.
//!
//! A master of 2.6 replaces itself once more after its new worker serves, and its socket tells nothing
//! meanwhile: with one service that is a quarter of a reload. The workers can be asked at once: the new one
//! on their socket, and the old one in a conversation that was begun before.

use std::{collections::BTreeSet, future::pending, path::Path};

use tokio::time::Instant;

use super::poll;
use crate::runtime::Worker;

/// A worker that is about to be replaced. Held until then, it keeps that worker from ending.
pub(super) struct Handover<'a> {
    socket: &'a Path,
    /// None where it cannot be asked: the master tells then.
    old: Option<Worker>,
}

impl<'a> Handover<'a> {
    /// Takes hold of the worker that answers on the socket, before it is replaced.
    pub(super) async fn begin(socket: &'a Path) -> Self {
        let old = Worker::connect(socket).await.ok();
        Self { socket, old }
    }

    /// Waits until a worker that is none of the known serves, and the old one takes no more connections.
    /// Waits for ever where they do not tell. Cancel safe.
    pub(super) async fn done(mut self, known: &BTreeSet<u32>) -> u32 {
        let Some(old) = &mut self.old else {
            return pending().await;
        };
        let begun = Instant::now();
        let new = loop {
            if let Ok(mut worker) = Worker::connect(self.socket).await
                && let Ok(info) = worker.info().await
                && !known.contains(&info.pid)
            {
                break info.pid;
            }
            poll::pause(begun).await;
        };
        loop {
            match old.info().await {
                Ok(info) if info.stopping => return new,
                Ok(_) => poll::pause(begun).await,
                Err(_) => return pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests;
