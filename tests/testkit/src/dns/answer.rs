//! What is sent for one query: a pure function of the query and the zone.

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{RData, Record, RecordType};

use super::{Fault, Records, Shared, key};

/// What a server without EDNS may send over UDP (RFC 1035, 4.2.1).
const PLAIN_UDP_BYTES: u16 = 512;

/// What avoids fragments on every path: the DNS flag day's figure.
const EDNS_UDP_BYTES: u16 = 1232;

/// How the answer travels, and so how long it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    Udp,
    Tcp,
}

/// What to do with one query.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Nothing,
    Send { bytes: Vec<u8>, after: Duration },
}

/// Counts the query and decides what it gets.
pub(super) fn reply(query: &[u8], carrier: Carrier, shared: &Shared) -> Reply {
    let Ok(request) = Message::from_vec(query) else {
        return Reply::Nothing;
    };
    let [question] = request.queries.as_slice() else {
        return Reply::Nothing;
    };
    let (records, fault) = look_up(question, shared);
    let mut after = Duration::ZERO;
    let message = match fault {
        Some(Fault::Silent | Fault::Lose(_)) => return Reply::Nothing,
        Some(Fault::Garbage) => {
            return Reply::Send {
                bytes: b"this is no DNS message".to_vec(),
                after,
            };
        }
        Some(Fault::NxDomain) => respond(&request, ResponseCode::NXDomain),
        Some(Fault::ServFail) => respond(&request, ResponseCode::ServFail),
        Some(Fault::Refused) => respond(&request, ResponseCode::Refused),
        Some(Fault::Empty) => respond(&request, ResponseCode::NoError),
        Some(Fault::Late(delay)) => {
            after = delay;
            truth(&request, question, records)
        }
        None => truth(&request, question, records),
    };
    encode(&message, &request, carrier).map_or(Reply::Nothing, |bytes| Reply::Send { bytes, after })
}

fn look_up(question: &Query, shared: &Shared) -> (Option<Records>, Option<Fault>) {
    let name = key(&question.name().to_ascii());
    let found = {
        let mut zone = shared.zone();
        *zone.queries.entry(name.clone()).or_default() += 1;
        let zone = &mut *zone;
        let fault = zone.faults.get_mut(&name).or(zone.fault_for_all.as_mut());
        (zone.records.get(&name).cloned(), fault.and_then(strike))
    };
    shared.total.send_modify(|total| *total += 1);
    found
}

/// What this query gets of a fault that may wear off.
fn strike(fault: &mut Fault) -> Option<Fault> {
    match fault {
        Fault::Lose(0) => None,
        Fault::Lose(left) => {
            *left -= 1;
            Some(Fault::Silent)
        }
        lasting => Some(lasting.clone()),
    }
}

fn respond(request: &Message, code: ResponseCode) -> Message {
    let mut message = Message::response(request.metadata.id, OpCode::Query);
    message.metadata.recursion_desired = request.metadata.recursion_desired;
    message.metadata.recursion_available = true;
    message.metadata.authoritative = true;
    message.metadata.response_code = code;
    message.add_queries(request.queries.iter().cloned());
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(EDNS_UDP_BYTES);
        message.set_edns(edns);
    }
    message
}

fn truth(request: &Message, question: &Query, records: Option<Records>) -> Message {
    let is_query = request.metadata.message_type == MessageType::Query
        && request.metadata.op_code == OpCode::Query;
    if !is_query {
        return respond(request, ResponseCode::NotImp);
    }
    let Some(records) = records else {
        return respond(request, ResponseCode::NXDomain);
    };
    let ttl = u32::try_from(records.ttl.as_secs()).unwrap_or(u32::MAX);
    let mut message = respond(request, ResponseCode::NoError);
    message.add_answers(records.addresses.iter().filter_map(|address| {
        let data = match (address, question.query_type()) {
            (IpAddr::V4(v4), RecordType::A) => RData::A(A(*v4)),
            (IpAddr::V6(v6), RecordType::AAAA) => RData::AAAA(AAAA(*v6)),
            _ => return None,
        };
        Some(Record::from_rdata(question.name().clone(), ttl, data))
    }));
    message
}

/// An answer too long for the carrier is sent empty and marked so: the client
/// asks again over TCP.
fn encode(message: &Message, request: &Message, carrier: Carrier) -> Option<Vec<u8>> {
    let bytes = message.to_vec().ok()?;
    let limit = match carrier {
        Carrier::Tcp => usize::from(u16::MAX),
        Carrier::Udp => usize::from(
            request
                .edns
                .as_ref()
                .map_or(PLAIN_UDP_BYTES, |edns| edns.max_payload())
                .max(PLAIN_UDP_BYTES),
        ),
    };
    if bytes.len() <= limit {
        return Some(bytes);
    }
    message.truncate().to_vec().ok()
}
