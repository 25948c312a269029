//! Lists from elsewhere, as bytes at random; see [`crate::fuzzing`].

use proxy_core::parse_reconfigure;

use super::{
    intake::{Unreadable, Wanted},
    listener::entries,
};

#[cfg(feature = "docker")]
pub(crate) fn labels(data: &[u8]) {
    use bollard::models::{Service, ServiceSpec};

    use super::docker::told;

    for service in serde_json::from_slice::<Vec<Service>>(data).unwrap_or_default() {
        let read = service.spec.as_ref().and_then(told);
        read.into_iter().for_each(checked);
    }
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let name = lines.next().map(str::to_owned);
    let labels = lines.filter_map(|line| line.split_once('='));
    let labels = labels.map(|(label, value)| (label.to_owned(), value.to_owned()));
    let spec = ServiceSpec {
        name,
        labels: Some(labels.collect()),
        ..ServiceSpec::default()
    };
    told(&spec).into_iter().for_each(checked);
}

pub(crate) fn listener(data: &[u8]) {
    let read = entries("http://listener", data).unwrap_or_default();
    read.into_iter().for_each(checked);
}

/// What is looked for in the table is what a put would leave there.
fn checked(read: Result<Wanted, Unreadable>) {
    match read {
        Ok(wanted) => {
            if let Ok(parsed) = parse_reconfigure(&wanted.params) {
                assert_eq!(*parsed.value.service.name(), wanted.name, "it is another");
            }
        }
        Err(unreadable) => {
            assert!(!unreadable.why.is_empty(), "without a reason");
            assert!(unreadable.names.len() <= 1, "{:?}", unreadable.names);
        }
    }
}
