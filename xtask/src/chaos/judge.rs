//! Whether what happened may have happened. Each service is a register: a call writes it at one
//! moment between its begin and its end, a lost one then or later or never, a refused one never.

use std::collections::{HashMap, HashSet};

use super::history::{Call, CallId, Moment, Outcome, Sight, Value, Wish};

/// The calls of one service.
#[derive(Debug, Default)]
struct Register<'a> {
    calls: HashMap<CallId, &'a Call>,
}

/// Judges the end of a history: what each service is, after everything has settled.
pub(super) fn judge_end(calls: &[Call], ends: &[(String, Value)]) -> Vec<String> {
    let calls = whole_groups(calls, ends);
    let registers = registers(&calls);
    let mut objections = Vec::new();
    let unknown = Register::default();
    for (service, value) in ends {
        let register = registers.get(service.as_str()).unwrap_or(&unknown);
        if let Err(why) = register.may_end_as(value) {
            objections.push(format!("{service} ended as {value:?}: {why}"));
        }
    }
    objections
}

/// Judges what was seen on the way, in the order in which it was seen: nothing that was refused or
/// not asked for yet, and in one life of a replica nothing that is older than what it has said.
pub(super) fn judge_sights(calls: &[Call], sights: &[Sight]) -> Vec<String> {
    let registers = registers(calls);
    let mut objections = Vec::new();
    let mut last: HashMap<(usize, u64, &str), &Sight> = HashMap::new();
    let unknown = Register::default();
    for sight in sights {
        let register = registers.get(sight.service.as_str()).unwrap_or(&unknown);
        let place = (sight.replica, sight.life, sight.service.as_str());
        let before = last.get(&place).copied();
        if let Err(why) = register.may_be_seen(sight, before) {
            objections.push(format!(
                "{} was seen as {:?} on replica {} at {:.3?}: {why}",
                sight.service,
                sight.value,
                sight.replica + 1,
                sight.begun,
            ));
        }
        last.insert(place, sight);
    }
    objections
}

/// Judges answers by themselves: what is valid is not refused as invalid, and the other way round.
/// What is invalid may be overtaken by another call for the service before it is looked at.
pub(super) fn judge_answers(calls: &[Call]) -> Vec<String> {
    let overtaken = |call: &Call| {
        calls.iter().any(|other| {
            other.id != call.id
                && other.service == call.service
                && other.replica == call.replica
                && other.wish != Wish::Invalid
                && other.begun <= call.ended
                && call.begun <= other.ended
        })
    };
    let wrong = calls.iter().filter(|call| match (call.wish, call.outcome) {
        (Wish::Invalid, Outcome::Live | Outcome::Stored) => !overtaken(call),
        (Wish::Put | Wish::Remove, Outcome::Refused) => call.said.starts_with('4'),
        _ => false,
    });
    wrong
        .map(|call| {
            let Call { id, wish, said, .. } = call;
            format!(
                "call {id} ({wish:?} of {}) was answered: {said}",
                call.service
            )
        })
        .collect()
}

/// The calls, where those that are one are stored as one: a part that is there proves the rest.
fn whole_groups(calls: &[Call], ends: &[(String, Value)]) -> Vec<Call> {
    let there = |call: &&Call| {
        let end = Value::Of(call.id);
        ends.iter()
            .any(|(service, value)| *service == call.service && *value == end)
    };
    let found = calls.iter().filter(there).filter_map(|call| call.group);
    let found: HashSet<CallId> = found.collect();
    let mut calls = calls.to_vec();
    for call in &mut calls {
        let proven = call.group.is_some_and(|group| found.contains(&group));
        if proven && call.outcome == Outcome::Lost {
            // When it was stored is not known, only that it is.
            (call.outcome, call.ended) = (Outcome::Stored, Moment::MAX);
        }
    }
    calls
}

fn registers(calls: &[Call]) -> HashMap<&str, Register<'_>> {
    let mut registers: HashMap<&str, Register<'_>> = HashMap::new();
    for call in calls {
        let register = registers.entry(call.service.as_str()).or_default();
        register.calls.insert(call.id, call);
    }
    registers
}

// === impl Call ===

impl Call {
    fn is_stored(&self) -> bool {
        matches!(self.outcome, Outcome::Live | Outcome::Stored)
    }

    fn may_be_stored(&self) -> bool {
        self.outcome != Outcome::Refused
    }

    /// After when it writes no more; a lost one may write at any time.
    fn latest(&self) -> Option<Moment> {
        self.is_stored().then_some(self.ended)
    }

    /// Whether it had written before the other began.
    fn is_surely_before(&self, other: &Self) -> bool {
        self.latest().is_some_and(|latest| latest < other.begun)
    }

    fn removes(&self) -> bool {
        self.wish == Wish::Remove
    }
}

// === impl Register ===

impl Register<'_> {
    /// The calls that may have made this value. `None` among them is nobody: it was so at first.
    fn makers(&self, value: &Value) -> Result<Vec<Option<&Call>>, String> {
        match value {
            Value::Strange(_) => {
                Err("it is not what any call wrote, or only half of it".to_owned())
            }
            Value::Absent => {
                let removals = self.calls.values().filter(|call| call.removes());
                let removals = removals.filter(|call| call.may_be_stored());
                Ok(removals.map(|call| Some(*call)).chain([None]).collect())
            }
            Value::Of(id) => match self.calls.get(id) {
                None => Err("no call for this service wrote that".to_owned()),
                Some(call) if call.removes() => Err("that call removes".to_owned()),
                Some(call) if !call.may_be_stored() => Err(format!(
                    "that call was refused ({}), so it must be nowhere",
                    call.said
                )),
                Some(call) => Ok(vec![Some(call)]),
            },
        }
    }

    /// Whether this can be the last value: some call that makes it can be the last one.
    fn may_end_as(&self, value: &Value) -> Result<(), String> {
        let makers = self.makers(value)?;
        let mut overwritten = None;
        for maker in makers {
            // Another call that makes the same may stand in for this one.
            let later = self.calls.values().find(|later| {
                let same = maker.is_some_and(|maker| maker.id == later.id);
                let after = maker.is_none_or(|maker| maker.is_surely_before(later));
                let makes_it = later.removes() && *value == Value::Absent;
                !same && later.is_stored() && after && !makes_it
            });
            match later {
                None => return Ok(()),
                Some(later) => overwritten = Some(later),
            }
        }
        let id = overwritten.map_or(0, |call| call.id);
        Err(format!(
            "call {id} was acknowledged and began after everything that can have made this had ended"
        ))
    }

    fn may_be_seen(&self, sight: &Sight, before: Option<&Sight>) -> Result<(), String> {
        let mut makers = self.makers(&sight.value)?;
        makers.retain(|maker| maker.is_none_or(|maker| maker.begun <= sight.ended));
        if makers.is_empty() {
            return Err("nobody had asked for that yet".to_owned());
        }
        // What this replica had said itself, by an answer or in an earlier look.
        let answered = self.calls.values().copied().filter(|call| {
            call.outcome == Outcome::Live
                && call.replica == sight.replica
                && call.life == Some(sight.life)
                && call.ended < sight.begun
        });
        let shown = before.and_then(|before| match before.value {
            Value::Of(id) => self.calls.get(&id).copied(),
            _ => None,
        });
        for known in answered.chain(shown) {
            let older = |maker: &Option<&Call>| {
                maker.is_none_or(|maker| maker.id != known.id && maker.is_surely_before(known))
            };
            let same = known.removes() && sight.value == Value::Absent;
            if !same && makers.iter().all(older) {
                return Err(format!(
                    "the same replica had said call {} before, and this is older",
                    known.id
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
