//! Pauses between tries: doubling, bounded, and never the same on two replicas.

use std::time::Duration;

use crate::settings::Timeouts;

/// The next pauses of one row of tries.
#[derive(Clone, Debug)]
pub(crate) struct Pauses {
    next: Duration,
    first: Duration,
    longest: Duration,
}

// === impl Pauses ===

impl Pauses {
    pub(crate) fn new(timeouts: &Timeouts) -> Self {
        Self {
            next: timeouts.backoff_min,
            first: timeouts.backoff_min,
            longest: timeouts.backoff_max.max(timeouts.backoff_min),
        }
    }

    /// The next pause: between half and all of a length that doubles.
    pub(crate) fn next(&mut self) -> Duration {
        let length = self.next;
        self.next = (length * 2).min(self.longest);
        // Without randomness the whole length is right too.
        let random = getrandom::u32().unwrap_or(u32::MAX);
        let part = f64::from(random) / f64::from(u32::MAX);
        length.mul_f64(0.5 + part / 2.0)
    }

    /// It worked: the next row begins with the first length.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew() {
        let timeouts = Timeouts {
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_millis(400),
            ..Timeouts::default()
        };
        let mut pauses = Pauses::new(&timeouts);
        for length in [100, 200, 400, 400] {
            let pause = pauses.next();
            assert!(pause >= Duration::from_millis(length / 2), "{pause:?}");
            assert!(pause <= Duration::from_millis(length), "{pause:?}");
        }
        pauses.reset();
        assert!(pauses.next() <= Duration::from_millis(100));
    }
}
